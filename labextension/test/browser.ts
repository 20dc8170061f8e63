/** What jsdom has not got, and no test is about. */
HTMLCanvasElement.prototype.getContext = () => null;
Element.prototype.scrollIntoView = () => undefined;
globalThis.ResizeObserver = class {
  observe(): void {
    // nothing changes its size here
  }
  unobserve(): void {
    // as above
  }
  disconnect(): void {
    // as above
  }
};
