/** A configuration as a tree that can be read and searched. */

export interface Leaf {
  readonly name: string;
  readonly path: string;
  /** As it stands in the configuration: nothing is rounded. */
  readonly text: string;
  readonly kind: "number" | "text" | "flag" | "none";
  /** Given for this one training, in place of what the scenario says. */
  readonly given: boolean;
}

export interface Branch {
  readonly name: string;
  readonly path: string;
  readonly leaves: readonly Leaf[];
  readonly branches: readonly Branch[];
  /** Values in it and below it. */
  readonly count: number;
}

type Mapping = Readonly<Record<string, unknown>>;

const isMapping = (value: unknown): value is Mapping =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function said(value: unknown): Pick<Leaf, "text" | "kind"> {
  if (value === null || value === undefined) return { text: "none", kind: "none" };
  if (typeof value === "boolean") return { text: value ? "yes" : "no", kind: "flag" };
  if (typeof value === "number") return { text: String(value), kind: "number" };
  if (typeof value === "string") return { text: value, kind: "text" };
  if (!Array.isArray(value) || value.length === 0) return { text: "empty", kind: "none" };
  const plain = value.every((one) => typeof one === "number" || typeof one === "string");
  return { text: plain ? value.join(", ") : JSON.stringify(value), kind: "number" };
}

function branch(name: string, path: string, of: Mapping, given: ReadonlySet<string>): Branch {
  const leaves: Leaf[] = [];
  const branches: Branch[] = [];
  for (const [key, value] of Object.entries(of)) {
    const at = path === "" ? key : `${path}.${key}`;
    if (isMapping(value) && Object.keys(value).length > 0) branches.push(branch(key, at, value, given));
    else leaves.push({ name: key, path: at, ...said(value), given: given.has(at) });
  }
  const count = branches.reduce((sum, one) => sum + one.count, leaves.length);
  return { name, path, leaves, branches, count };
}

function paths(of: unknown, path: string): string[] {
  if (!isMapping(of)) return [path];
  return Object.entries(of).flatMap(([key, value]) => paths(value, `${path}.${key}`));
}

/** The configuration of a session; what was overridden of its scenario is marked. */
export function treeOf(config: Mapping): Branch {
  return branch("", "", config, new Set(paths(config.overrides, "scenario")));
}

/** What of it has every one of the words in its dotted name or value; all of it without words. */
export function sought(tree: Branch, words: readonly string[]): Branch {
  if (words.length === 0) return tree;
  const has = (leaf: Leaf): boolean => {
    const text = `${leaf.path} ${leaf.text}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const leaves = tree.leaves.filter(has);
  const branches = tree.branches.map((one) => sought(one, words)).filter((one) => one.count > 0);
  return { ...tree, leaves, branches, count: branches.reduce((sum, one) => sum + one.count, leaves.length) };
}
