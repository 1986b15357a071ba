/** Keys that work wherever nothing is being typed, and whether they are wanted at all. */

const KEPT = "grandstand.keys";
/** How long a first key waits for its second. */
const WAIT_MS = 1500;

class Keys {
  /** Single keys act; whoever speaks to their computer, or types by mistake, turns them off. */
  on = $state(localStorage.getItem(KEPT) !== "off");
  /** Their list is shown. */
  listed = $state(false);

  turn(on: boolean): void {
    this.on = on;
    if (on) localStorage.removeItem(KEPT);
    else localStorage.setItem(KEPT, "off");
  }
}

export const keys = new Keys();

/** Whether the key belongs to something else: a field, a dialog that is open, a modified key. */
export function taken(event: KeyboardEvent): boolean {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return true;
  const at = event.target as Element;
  if (at.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable], [role=menu]")) {
    return true;
  }
  return document.querySelector("dialog[open]") !== null;
}

/** Listens for keys: `go` takes the letter after g. Returns how to stop. */
export function listen(go: (letter: string) => boolean): () => void {
  let first = -Infinity;
  function key(event: KeyboardEvent): void {
    if (!keys.on || taken(event)) return;
    const second = event.timeStamp - first < WAIT_MS;
    first = -Infinity;
    if (second && go(event.key)) event.preventDefault();
    else if (event.key === "g") first = event.timeStamp;
    else if (event.key === "?") {
      event.preventDefault();
      keys.listed = true;
    } else if (event.key === "/") {
      const field = document.querySelector<HTMLInputElement>("main input[type=search]");
      if (field === null) return;
      event.preventDefault();
      field.focus();
      field.select();
    }
  }
  document.addEventListener("keydown", key);
  return () => document.removeEventListener("keydown", key);
}
