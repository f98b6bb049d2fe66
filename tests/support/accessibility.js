// What a checker of accessibility would complain of, as lines of text. By hand: names, headings, tables, contrast.
() => {
  const found = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const short = (element) => element.outerHTML.slice(0, 120);
  const shown = (element) => element.checkVisibility({ checkVisibilityCSS: true });
  const named = (element) => (element.getAttribute("aria-label") || element.textContent).trim() !== "";

  if (document.documentElement.lang !== "en") found.push("the page does not say its language");
  if (!document.title) found.push("the page has no title");
  if (all("main").length !== 1 || all("h1").length !== 1) found.push("not one main part with one first heading");
  let before = 0;
  for (const heading of all("h1,h2,h3,h4,h5,h6")) {
    const level = Number(heading.tagName[1]);
    if (level > before + 1) found.push(`a heading skips a level: ${short(heading)}`);
    if (!named(heading)) found.push(`a heading without text: ${short(heading)}`);
    before = level;
  }
  const ids = all("[id]").map((element) => element.id);
  if (new Set(ids).size !== ids.length) found.push(`an id occurs twice: ${ids}`);
  for (const element of all("a[href],button,summary")) if (!named(element)) found.push(`no name: ${short(element)}`);
  for (const link of all('a[href^="#"]'))
    if (!document.getElementById(link.hash.slice(1))) found.push(`leads nowhere: ${short(link)}`);
  for (const field of all("input:not([type=hidden]),select")) if (!field.labels.length) found.push(`no label: ${short(field)}`);
  for (const picture of all("svg"))
    if (picture.getAttribute("aria-hidden") !== "true" && !(picture.getAttribute("role") === "img" && named(picture)))
      found.push(`a picture without words: ${short(picture)}`);
  for (const table of all("table")) {
    if (!table.caption && !table.classList.contains("facts")) found.push(`no caption: ${short(table)}`);
    for (const head of table.querySelectorAll("th")) {
      if (!head.scope) found.push(`a heading of nothing: ${short(head)}`);
      if (!named(head)) found.push(`an empty heading: ${short(head)}`);
    }
    const widths = new Set([...table.rows].map((row) => row.cells.length));
    if (widths.size !== 1) found.push(`rows of different length: ${short(table)}`);
    for (const row of table.tBodies[0].rows)
      if (row.querySelectorAll("th").length !== 1) found.push(`a row that no heading names: ${short(row)}`);
  }

  const rgb = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => part / 255).map((p) => (p <= 0.04045 ? p / 12.92 : ((p + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = rgb(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !shown(element)) continue;
    const style = getComputedStyle(element);
    const colour = element instanceof SVGElement ? style.fill : style.color;
    const pair = [light(rgb(colour).slice(0, 3)), light(behind(element))].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(1)}: ${short(element)}`);
  }
  return found;
}
