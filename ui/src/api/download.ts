/** Files and pictures: a plain address where no token is needed, fetched with it where one is. */

import { credentials } from "./credentials";
import { send } from "./server";

/** Below the page's mount point, without a slash before it. */
function pathOf(href: string): string {
  return href.slice(new URL("./", document.baseURI).href.length);
}

function nameOf(response: Response, href: string): string {
  const told = response.headers.get("content-disposition") ?? "";
  const [, quoted, bare] = /filename="([^"]+)"|filename=([^;\s]+)/.exec(told) ?? [];
  return quoted ?? bare ?? new URL(href).pathname.split("/").at(-1) ?? "download";
}

/**
 * What an `<img>` can show of an address of the server's: a browser sends no token for those. To be
 * given back with `URL.revokeObjectURL` where it is another address.
 *
 * @throws ApiError what the server said instead.
 */
export async function pictureOf(href: string, signal: AbortSignal): Promise<string> {
  if (credentials.tokenFor(pathOf(href)) === null) return href;
  const response = await send(pathOf(href), { headers: { accept: "image/*" }, signal });
  return URL.createObjectURL(await response.blob());
}

/**
 * For a link's click: has the file saved with this page's token, where it has one for it.
 *
 * @throws ApiError what the server said instead.
 */
export async function saveLinked(event: MouseEvent): Promise<void> {
  const { href } = event.currentTarget as HTMLAnchorElement;
  if (credentials.tokenFor(pathOf(href)) === null) return;
  event.preventDefault();
  const response = await send(pathOf(href), { headers: { accept: "*/*" } });
  const url = URL.createObjectURL(await response.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = nameOf(response, href);
  link.dataset.outside = "";
  document.body.append(link);
  link.click();
  link.remove();
  // Saving has begun by the next turn of the loop, and holds the data itself.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
