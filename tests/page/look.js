// Looks at the report's page as a browser shows it, and writes what is wrong into it.
// The test adds this to its own copy: the page itself has no script.
'use strict';
const problems = [];
const colour = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const luminance = ([r, g, b]) => {
  const linear = [r, g, b].map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
};
const contrast = (a, b) => {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
};
const paper = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const [r, g, b, alpha = 1] = colour(getComputedStyle(at).backgroundColor);
    if (alpha === 1) return [r, g, b];
  }
  return [255, 255, 255];
};
// What a text of a plot is written on: the cell behind it, or the page.
const behind = (text) => {
  // A plot that is wider than a phone is scrolled: only what is in sight can be asked for.
  text.scrollIntoView({ block: 'nearest', inline: 'center' });
  const box = text.getBoundingClientRect();
  const stack = document.elementsFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  const cell = stack.find((element) => element.tagName === 'rect' && getComputedStyle(element).fill !== 'none');
  return cell ? colour(getComputedStyle(cell).fill) : paper(text);
};
document.querySelectorAll('details').forEach((details) => { details.open = true; });
for (const element of document.querySelectorAll('body *')) {
  const own = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!own.length || element.tagName === 'SCRIPT' || element.tagName === 'STYLE' || element.tagName === 'title') continue;
  const style = getComputedStyle(element);
  const isPlot = element.namespaceURI.endsWith('svg');
  const ratio = isPlot ? contrast(colour(style.fill), behind(element)) : contrast(colour(style.color), paper(element));
  if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(2)} of ${own[0].data.trim().slice(0, 30)}`);
  if (isPlot) {
    const [text, plot] = [element.getBoundingClientRect(), element.ownerSVGElement.getBoundingClientRect()];
    if (text.left < plot.left - 1 || text.right > plot.right + 1) problems.push(`cut off: ${own[0].data.trim()}`);
  }
}
for (const plot of document.querySelectorAll('svg')) {
  if (plot.getAttribute('role') !== 'img' || !plot.querySelector('title')?.textContent) problems.push('a plot has no title');
}
for (const image of document.querySelectorAll('img')) if (!image.alt) problems.push('an image has no alt text');
for (const table of document.querySelectorAll('table')) {
  if (!table.querySelector('th')) problems.push('a table has no headers');
  if (!table.caption?.textContent) problems.push('a table has no caption');
}
for (const header of document.querySelectorAll('th')) if (!header.scope) problems.push(`no scope: ${header.textContent}`);
const levels = [...document.querySelectorAll('h1, h2, h3, h4')].map((heading) => Number(heading.tagName[1]));
if (levels.filter((level) => level === 1).length !== 1) problems.push('not one h1');
if (levels.some((level, nth) => nth > 0 && level > levels[nth - 1] + 1)) problems.push('headings leave out a level');
if (!document.documentElement.lang) problems.push('no language');
if (!document.title) problems.push('no title');
if (document.documentElement.scrollWidth > innerWidth) problems.push(`wider than the window: ${document.documentElement.scrollWidth}`);
if (performance.getEntriesByType('resource').length) problems.push('it asks for something else');
if (document.querySelectorAll('script').length !== 1) problems.push('it has a script');
const found = {
  problems: problems.map((text) => text.replace(/[^\w .,:()#/[\]-]/g, '?')),
  dark: matchMedia('(prefers-color-scheme: dark)').matches,
  width: innerWidth,
  plots: document.querySelectorAll('svg').length,
  tables: document.querySelectorAll('table').length,
};
document.body.append(`FOUND${JSON.stringify(found)}DNUOF`);
