import type { Attachment } from "svelte/attachments";

/** What scrolls is reached by Tab as long as there is something to scroll to: arrows then move it. */
export const reachable: Attachment<HTMLElement> = (element) => {
  const look = (): void => {
    const more = element.scrollHeight > element.clientHeight || element.scrollWidth > element.clientWidth;
    if (more) element.tabIndex = 0;
    else element.removeAttribute("tabindex");
  };
  const sizes = new ResizeObserver(look);
  sizes.observe(element);
  const contents = new MutationObserver(look);
  contents.observe(element, { childList: true });
  return () => {
    sizes.disconnect();
    contents.disconnect();
  };
};
