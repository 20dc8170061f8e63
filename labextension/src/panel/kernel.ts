/** Ask a kernel for what the panel shows, without disturbing a running cell. */
import { PageConfig } from '@jupyterlab/coreutils';
import { KernelMessage, type Kernel } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { UUID } from '@lumino/coreutils';

import { checked, type Subject } from './answer';
import type { Answers } from './answers';

/** Why a kernel has not answered. */
export type Silence =
  | { why: 'other language'; language: string }
  | { why: 'busy' }
  | { why: 'missing' }
  | { why: 'too old' }
  | { why: 'gone' }
  | { why: 'failed'; said: string };

const HELLO = "__import__('jupyter_hwprune.notebook.lab', fromlist=['lab']).listen()";
const TARGET = 'hwprune';
const HELLO_PATIENCE_MS = 1000;

const UNTRACKED = 'untracked_message_types';

type Shell = string | null;

/**
 * Keep a subshell's messages from changing the kernel's shown state: JupyterLab shows a kernel as idle as soon as any
 * message to it is done, even while a cell runs, except for the message types in this list of its own.
 */
export function leaveStatusAlone(): void {
  const known = JSON.parse(PageConfig.getOption(UNTRACKED) || '[]') as string[];
  const ours = ['comm_open', 'comm_close', 'create_subshell_request', 'delete_subshell_request'];
  PageConfig.setOption(UNTRACKED, JSON.stringify([...new Set([...known, ...ours])]));
}

/**
 * A kernel that the panel can ask.
 *
 * A user expression greets an idle kernel and loads our module there. After that it answers comms, on a subshell if the
 * kernel has them, so also while a cell runs. We use a comm because any execution, even a silent one, ends in IPython's
 * `post_execute`, where matplotlib closes the figures that a running cell is still drawing.
 */
export class AskedKernel implements IDisposable {
  private greeted = false;
  private hello: Promise<Silence | null> | null = null; // the greeting in progress
  private subshell: Promise<Shell> | null = null;
  private disposed = false;

  /**
   * @param isBusy whether a cell runs
   * @param mayListen whether the cell that runs may have loaded our magics, which also makes the kernel answer
   */
  constructor(
    readonly connection: Kernel.IKernelConnection,
    private readonly isBusy: () => boolean,
    private readonly mayListen: () => boolean
  ) {
    connection.statusChanged.connect(this.onStatus);
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  dispose(): void {
    if (this.disposed) {
      return;
    }
    this.disposed = true;
    this.connection.statusChanged.disconnect(this.onStatus);
    void this.endSubshell();
  }

  /** Ask for a subject; returns the answer, or why there is none. */
  async ask<S extends Exclude<Subject, 'listening' | 'progress'>>(subject: S): Promise<Answers[S] | Silence> {
    try {
      const spec = await this.connection.spec;
      if (spec !== undefined && spec.language.toLowerCase() !== 'python') {
        return { why: 'other language', language: spec.language };
      }
      const refused = await this.greet();
      if (refused !== null) {
        return refused;
      }
      return await this.askByComm(subject);
    } catch (error) {
      // a future is cancelled or cannot be sent when its kernel ends or restarts
      return this.connection.isDisposed || this.connection.status !== 'idle'
        ? { why: 'gone' }
        : { why: 'failed', said: error instanceof Error ? error.message : String(error) };
    }
  }

  /**
   * Load our module in the kernel; returns why that failed. A busy kernel may have loaded it by `%load_ext`.
   *
   * If a cell reaches the kernel before our greeting, the greeting waits until that cell ends.
   */
  private async greet(): Promise<Silence | null> {
    if (this.greeted) {
      return null;
    }
    if (this.hello === null && !this.isBusy()) {
      this.hello = this.sayHello().finally(() => {
        this.hello = null;
      });
    }
    const answered = this.hello === null ? undefined : await withPatience(this.hello);
    const whileBusy: Silence | null = this.answersWhileBusy && this.mayListen() ? null : { why: 'busy' };
    return answered === undefined ? whileBusy : answered;
  }

  private async sayHello(): Promise<Silence | null> {
    const future = this.connection.requestExecute({
      code: '',
      silent: true,
      store_history: false,
      user_expressions: { hello: HELLO },
      allow_stdin: false,
      stop_on_error: false,
    });
    const { content } = await future.done;
    const reply = content.status === 'ok' ? content.user_expressions.hello : undefined;
    const refused = refusal(reply);
    this.greeted = refused === null;
    return refused;
  }

  private async askByComm<S extends Subject>(subject: S): Promise<Answers[S] | Silence> {
    const shell = await this.ownSubshell();
    if (shell === null && this.isBusy()) {
      return { why: 'busy' };
    }
    const id = UUID.uuid4();
    const answer = await this.opened(id, subject, shell);
    if (answer === null) {
      const said = `its answer about the ${subject} failed with an error`;
      return this.greeted ? { why: 'failed', said } : { why: 'busy' };
    }
    this.greeted = true;
    this.close(id, shell);
    return checked(subject, answer) ?? { why: 'too old' };
  }

  /** Open a comm with the question; returns the data of the answer, null if the kernel gave none. */
  private async opened(id: string, subject: Subject, shell: Shell): Promise<unknown> {
    const message = KernelMessage.createMessage<KernelMessage.ICommOpenMsg<'shell'>>({
      msgType: 'comm_open',
      content: { comm_id: id, target_name: TARGET, data: { subject } },
      ...this.sender(shell),
    });
    const future = this.connection.sendShellMessage(message);
    let answer: unknown = null;
    future.onIOPub = heard => {
      if (KernelMessage.isCommMsgMsg(heard) && heard.content.comm_id === id) {
        answer = heard.content.data;
      }
    };
    await future.done;
    return answer;
  }

  private close(id: string, shell: Shell): void {
    const message = KernelMessage.createMessage<KernelMessage.ICommCloseMsg<'shell'>>({
      msgType: 'comm_close',
      content: { comm_id: id, data: {} },
      ...this.sender(shell),
    });
    this.connection.sendShellMessage(message);
  }

  private sender(subshellId: Shell) {
    const { username, clientId: session } = this.connection;
    return { channel: 'shell', username, session, subshellId } as const;
  }

  get answersWhileBusy(): boolean {
    return this.connection.supportsSubshells; // undefined in JupyterLab before 4.5, which has no subshells
  }

  /** Our own subshell, made when first needed; null is the main shell. */
  private ownSubshell(): Promise<Shell> {
    this.subshell ??= this.answersWhileBusy
      ? this.connection.requestCreateSubshell({}).done.then(reply => reply.content.subshell_id)
      : Promise.resolve(null);
    return this.subshell;
  }

  private async endSubshell(): Promise<void> {
    const own = this.subshell;
    this.subshell = null;
    const id = await own?.catch(() => null);
    if (id && !this.connection.isDisposed && this.connection.status !== 'dead') {
      this.connection.requestDeleteSubshell({ subshell_id: id });
    }
  }

  /** Forget everything that ended with the old process. */
  private readonly onStatus = (_: unknown, status: Kernel.Status): void => {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this.greeted = false;
      this.subshell = null;
    }
  };
}

/** Wait for an answer for a limited time; undefined if there is none by then. */
function withPatience<T>(answer: Promise<T>): Promise<T | undefined> {
  const tooLong = new Promise<undefined>(resolve => {
    window.setTimeout(() => {
      resolve(undefined);
    }, HELLO_PATIENCE_MS);
  });
  return Promise.race([answer, tooLong]);
}

/** Why a kernel does not listen, from its reply to the greeting; null if it does. */
function refusal(reply: unknown): Silence | null {
  const { status, ename, evalue, data } = (reply ?? {}) as Record<string, unknown>;
  if (status === 'ok' && checked('listening', (data as Record<string, unknown> | undefined)?.['application/json'])) {
    return null;
  }
  if (ename === 'ModuleNotFoundError') {
    return evalue === "No module named 'jupyter_hwprune'" ? { why: 'missing' } : { why: 'too old' };
  }
  return { why: 'failed', said: typeof evalue === 'string' ? evalue.slice(0, 300) : 'it gave no answer' };
}
