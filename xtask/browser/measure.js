// Measures the rendered page.

/** Counts the pixels of a canvas that have each of these colours of the style sheet. */
export function countPixels(page, canvas, names) {
  return page.evaluate(
    ([selector, wanted]) => {
      const element = document.querySelector(selector);
      const { data } = element.getContext("2d").getImageData(0, 0, element.width, element.height);
      const style = getComputedStyle(document.documentElement);
      const numbers = (colour) => {
        const hex = colour.trim().replace(/^#(.)(.)(.)$/, "#$1$1$2$2$3$3");
        return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
      };
      return wanted.map((name) => {
        const [red, green, blue] = numbers(style.getPropertyValue(name));
        let count = 0;
        for (let i = 0; i < data.length; i += 4) {
          count += data[i] === red && data[i + 1] === green && data[i + 2] === blue && data[i + 3] === 255;
        }
        return count;
      });
    },
    [canvas, names],
  );
}

/** Elements that extend beyond the window. */
export function overflow(page) {
  return page.evaluate(() => {
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
    return wide.map((element) => `${element.tagName} ${element.className} ${element.getBoundingClientRect().right}`);
  });
}

/** Text with less than this contrast against its background. */
export function lowContrast(page, minimum) {
  return page.evaluate((wanted) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const over = (front, back) => front.slice(0, 3).map((n, i) => (n * front[3] + back[i] * (255 - front[3])) / 255);
    const behind = (element) => {
      if (!element) return [255, 255, 255];
      const front = rgba(getComputedStyle(element).backgroundColor);
      return front[3] === 255 ? front.slice(0, 3) : over(front, behind(element.parentElement));
    };
    const luminance = (colour) => {
      const [red, green, blue] = colour.map((n) => (n / 255 <= 0.04045 ? n / 255 / 12.92 : ((n / 255 + 0.055) / 1.055) ** 2.4));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const contrast = (one, other) => {
      const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    };
    const texts = [...document.querySelectorAll("body *")].filter(
      (element) => element.checkVisibility({ visibilityProperty: true }) && element.tagName !== "OPTION" && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()),
    );
    const found = texts.map((element) => {
      const back = behind(element);
      return { element, ratio: contrast(over(rgba(getComputedStyle(element).color), back), back) };
    });
    return found.filter(({ ratio }) => ratio < wanted).map(({ element, ratio }) => `${element.tagName}.${element.className} ${element.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }, minimum);
}
