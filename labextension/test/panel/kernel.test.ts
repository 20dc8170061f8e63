import type { Kernel } from '@jupyterlab/services';
import { PromiseDelegate } from '@lumino/coreutils';
import { beforeEach, describe, expect, it, vi } from 'vitest';

import { AskedKernel } from '../../src/panel/kernel';
import { CHOICES, FakeKernel } from './fake_kernel';

let fake: FakeKernel;
let busy: boolean;
let loaded: boolean;
const asked = () =>
  new AskedKernel(
    fake as unknown as Kernel.IKernelConnection,
    () => busy,
    () => loaded
  );

beforeEach(() => {
  fake = new FakeKernel();
  busy = false;
  loaded = false;
});

describe('a kernel', () => {
  it('that is idle is said hello to once, silently, and then asked on a subshell of our own', async () => {
    const kernel = asked();
    expect(await kernel.ask('choices')).toEqual(CHOICES);
    expect(await kernel.ask('choices')).toEqual(CHOICES);
    expect(fake.sent).toEqual([
      'execute "" true false',
      'create_subshell',
      'comm_open on own',
      'comm_close on own',
      'comm_open on own',
      'comm_close on own',
    ]);
  });

  it('that is busy is never sent an execution: its figures would be taken from it', async () => {
    busy = true;
    expect(await asked().ask('choices')).toEqual({ why: 'busy' });
    expect(fake.sent).toEqual([]);
    loaded = true;
    expect(await asked().ask('choices')).toEqual(CHOICES);
    expect(fake.sent).toEqual(['create_subshell', 'comm_open on own', 'comm_close on own']);
  });

  it('that begins a cell just before our hello is not waited for, and is greeted once', async () => {
    vi.useFakeTimers();
    const cell = new PromiseDelegate<void>();
    fake.before = cell.promise;
    const kernel = asked();
    const first = kernel.ask('choices');
    await vi.advanceTimersByTimeAsync(1000);
    expect(await first).toEqual({ why: 'busy' });
    loaded = true;
    const second = kernel.ask('choices');
    await vi.advanceTimersByTimeAsync(1000);
    expect(await second).toEqual(CHOICES);
    vi.useRealTimers();
    cell.resolve();
    expect(await kernel.ask('choices')).toEqual(CHOICES);
    expect(fake.sent.filter(each => each.startsWith('execute'))).toHaveLength(1);
    expect(fake.sent.filter(each => each === 'comm_open on own')).toHaveLength(2);
  });

  it('that is busy and has no subshells is not asked, and is asked on its main shell when it is idle', async () => {
    fake.supportsSubshells = false;
    const kernel = asked();
    expect(await kernel.ask('choices')).toEqual(CHOICES);
    busy = true;
    const before = fake.sent.length;
    expect(await kernel.ask('choices')).toEqual({ why: 'busy' });
    expect(fake.sent.length).toBe(before);
    expect(fake.sent).toContain('comm_open on main');
  });

  it('of another language is not asked', async () => {
    fake.language = 'julia';
    expect(await asked().ask('choices')).toEqual({ why: 'other language', language: 'julia' });
    expect(fake.sent).toEqual([]);
  });

  it('without the package, or with another version of it, is told apart', async () => {
    fake.hello = { status: 'error', ename: 'ModuleNotFoundError', evalue: "No module named 'jupyter_hwprune'" };
    expect(await asked().ask('choices')).toEqual({ why: 'missing' });
    fake.hello = {
      status: 'error',
      ename: 'ModuleNotFoundError',
      evalue: "No module named 'jupyter_hwprune.notebook'",
    };
    expect(await asked().ask('choices')).toEqual({ why: 'too old' });
    fake.hello = { status: 'error', ename: 'OSError', evalue: 'no space left' };
    expect(await asked().ask('choices')).toEqual({ why: 'failed', said: 'no space left' });
  });

  it('is believed only where its answer has the known form', async () => {
    fake.answer = { ...CHOICES, patterns: '<script>' };
    expect(await asked().ask('choices')).toEqual({ why: 'too old' });
  });

  it('that was restarted is greeted anew, on a new subshell', async () => {
    const kernel = asked();
    await kernel.ask('choices');
    fake.sent = [];
    fake.statusChanged.emit('restarting');
    await kernel.ask('choices');
    expect(fake.sent.slice(0, 2)).toEqual(['execute "" true false', 'create_subshell']);
  });

  it('has our subshell deleted when we leave it', async () => {
    const kernel = asked();
    await kernel.ask('choices');
    kernel.dispose();
    await vi.waitFor(() => {
      expect(fake.sent.at(-1)).toBe('delete_subshell own');
    });
  });
});
