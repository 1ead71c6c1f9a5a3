// Opens each page in a frame of each width, and sends the measurements to the server.

const excess = (element) => element.scrollWidth - element.clientWidth;
const name = (element) => `${element.className || element.tagName}: ${element.innerText.slice(0, 60)}`;

function measure(page, width, inner) {
  const all = (selector) => [...inner.querySelectorAll(selector)];
  const label = (element) => inner.defaultView.getComputedStyle(element, "::before").content;
  const isBelow = (pair) => pair.children[0].offsetTop !== pair.children[1].offsetTop;
  const hasButton = (code) => code.parentElement.querySelector(".copybtn") !== null;
  return {
    page,
    width,
    excess: excess(inner.documentElement),
    cut: all("article .table-wrapper, article pre").filter((part) => excess(part) > 1).map(name),
    stacked: all(".pair").filter(isBelow).map(name),
    uncopied: all("div:not(.highlight-text) > .highlight > pre")
      .filter((code) => !hasButton(code))
      .map(name),
    unlabelled: all('[class*="highlight-"] + .highlight-text')
      .filter((output) => label(output) !== '"Output"')
      .map(name),
  };
}

async function main() {
  const measured = [];
  for (const width of WIDTHS) {
    for (const page of PAGES) {
      const frame = document.createElement("iframe");
      frame.style.cssText = `border: 0; height: 900px; width: ${width}px`;
      frame.src = page;
      const loaded = new Promise((resolve) => { frame.onload = resolve; });
      document.body.append(frame);
      await loaded;
      const inner = frame.contentDocument;
      await inner.fonts.ready;
      measured.push(measure(page, width, inner));
      frame.remove();
    }
  }
  await fetch("/measured", { method: "POST", body: JSON.stringify(measured) });
}
main();
