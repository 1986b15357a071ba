/** The same done to many sessions, and what they take on disk. */

import { post } from "./server";

export type Action = "archive" | "unarchive" | "tag" | "untag" | "delete";

export interface Refused {
  readonly session_id: string;
  readonly error: string;
  readonly message: string;
}

export interface Outcome {
  readonly done: readonly string[];
  readonly refused: readonly Refused[];
}

export interface Size {
  readonly session_id: string;
  readonly records: number;
  readonly log_bytes: number;
  readonly series_bytes: number;
  readonly media_bytes: number;
  readonly file_bytes: number;
}

/** As many as the server takes at once. */
const AT_ONCE = 500;

function portions(ids: readonly string[]): string[][] {
  const found: string[][] = [];
  for (let at = 0; at < ids.length; at += AT_ONCE) found.push(ids.slice(at, at + AT_ONCE));
  return found;
}

/** Does the same to many; `told` hears how many are through. */
export async function changeMany(
  ids: readonly string[],
  action: Action,
  more: { readonly tags?: readonly string[]; readonly files?: boolean },
  told: (through: number) => void,
): Promise<Outcome> {
  const [done, refused]: [string[], Refused[]] = [[], []];
  for (const some of portions(ids)) {
    const one = await post<Outcome>("api/training/sessions/bulk", { ids: some, action, ...more });
    done.push(...one.done);
    refused.push(...one.refused);
    told(done.length + refused.length);
  }
  return { done, refused };
}

export async function sizesOf(ids: readonly string[]): Promise<readonly Size[]> {
  const found: Size[] = [];
  for (const some of portions(ids)) {
    found.push(...(await post<{ sessions: Size[] }>("api/training/sessions/sizes", { ids: some })).sessions);
  }
  return found;
}

export function totalOf(sizes: readonly Size[]): { readonly records: number; readonly database: number; readonly files: number } {
  return sizes.reduce(
    (sum, one) => ({
      records: sum.records + one.records,
      database: sum.database + one.log_bytes + one.series_bytes + one.media_bytes,
      files: sum.files + one.file_bytes,
    }),
    { records: 0, database: 0, files: 0 },
  );
}
