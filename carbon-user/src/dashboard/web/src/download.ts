// Each chart as a file: its data as CSV, and its picture as SVG or PNG.

import { clean, h } from "./dom";

/** Pixels of a PNG for each of the picture's own. */
const SCALE = 2;

function save(name: string, blob: Blob): void {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  // The browser reads it after this turn.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** As a spreadsheet reads it: a name that it would take for a formula gets an apostrophe. An unknown value is empty. */
export function csv(rows: (string | number | null)[][]): string {
  const quoted = (text: string) => `"${(/^[=+\-@\t]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const cell = (value: string | number | null) => (value === null ? "" : typeof value === "number" ? String(value) : quoted(clean(value)));
  return rows.map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

function svgText(root: SVGElement): string {
  return new XMLSerializer().serializeToString(root);
}

async function png(root: SVGElement): Promise<Blob> {
  const url = URL.createObjectURL(new Blob([svgText(root)], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = h("canvas", { width: image.width * SCALE, height: image.height * SCALE });
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, failed) =>
      canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("this browser makes no PNG"))), "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Buttons below a chart. What they give is made when it is asked for. */
export function downloads(name: string, rows: () => (string | number | null)[][], drawn: () => SVGElement): HTMLElement {
  const file = `carbon-${name.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 40)}`;
  const button = (kind: string, make: () => Promise<Blob> | Blob) => h("button", { type: "button", class: "quiet",
    "aria-label": `Download ${name} as ${kind}`,
    onclick: () => void Promise.resolve(make()).then((blob) => save(`${file}.${kind.toLowerCase()}`, blob)) }, kind);
  return h("span", { class: "downloads", role: "group", "aria-label": `Download ${name}` },
    button("CSV", () => new Blob([csv(rows())], { type: "text/csv" })),
    button("SVG", () => new Blob([svgText(drawn())], { type: "image/svg+xml" })),
    button("PNG", () => png(drawn())));
}
