import type { Kernel } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';
import { vi } from 'vitest';

export const CHOICES = {
  targets: [],
  aliases: {},
  patterns: [],
  channel_importance: [],
  weight_importance: [],
  allocations: [],
};
const LISTENING = { version: '1', comm_target: 'hwprune', subjects: [] };

/** As much of a kernel as is asked: it notes what it is sent, and answers at once. */
export class FakeKernel {
  sent: string[] = [];
  answer: unknown = CHOICES;
  /** Answers about a subject, in place of `answer`. */
  about: Record<string, unknown> = {};
  hello: unknown = { status: 'ok', data: { 'application/json': LISTENING } };
  /** What runs there before our hello, if anything. */
  before: Promise<void> = Promise.resolve();
  language = 'python';
  supportsSubshells = true;
  status: Kernel.Status = 'idle';
  isDisposed = false;
  username = '';
  clientId = 'client';
  readonly statusChanged = new Signal<this, Kernel.Status>(this);

  get spec() {
    return Promise.resolve({ language: this.language });
  }

  requestExecute(content: { code: string; silent: boolean; store_history: boolean }) {
    this.sent.push(`execute ${JSON.stringify(content.code)} ${content.silent} ${content.store_history}`);
    const reply = { content: { status: 'ok', user_expressions: { hello: this.hello } } };
    return { done: this.before.then(() => reply) };
  }

  requestCreateSubshell() {
    this.sent.push('create_subshell');
    return { done: Promise.resolve({ content: { subshell_id: 'own' } }) };
  }

  requestDeleteSubshell({ subshell_id: id }: { subshell_id: string }) {
    this.sent.push(`delete_subshell ${id}`);
  }

  sendShellMessage(message: {
    header: { msg_type: string; subshell_id?: string };
    content: { comm_id: string; data?: { subject?: string } };
  }) {
    this.sent.push(`${message.header.msg_type} on ${message.header.subshell_id ?? 'main'}`);
    const future = {
      onIOPub: vi.fn(),
      done: Promise.resolve().then(() => {
        const data = this.about[message.content.data?.subject ?? ''] ?? this.answer;
        const content = { comm_id: message.content.comm_id, data };
        const header = { msg_type: 'comm_msg' };
        if (this.answer !== null) {
          future.onIOPub({ header, channel: 'iopub', content });
        }
      }),
    };
    return future;
  }
}
