/** Save new files without overwriting existing ones. */
import { PathExt } from '@jupyterlab/coreutils';
import type { Contents } from '@jupyterlab/services';

/** Save under the first free name in the folder, `name.ext`, `name-1.ext` and so on; return the path. */
export async function saveNew(
  contents: Contents.IManager,
  folder: string,
  name: string,
  extension: string,
  model: Partial<Contents.IModel>
): Promise<string> {
  const listing = await contents.get(folder, { content: true });
  const taken = new Set((listing.content as Contents.IModel[]).map(each => each.name));
  let free = `${name}${extension}`;
  for (let number = 1; taken.has(free); number += 1) {
    free = `${name}-${number}${extension}`;
  }
  const path = PathExt.join(folder, free);
  await contents.save(path, model);
  return path;
}
