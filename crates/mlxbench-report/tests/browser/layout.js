// Where a page's texts lie, as an expression: an object of checks that return sentences.
(() => {
    const TOLERANCE = 1;
    const visible = element =>
        element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
    const size = ({ width, height }) => Math.min(width, height);

    const name = element => {
        const id = element.id ? `#${element.id}` : "";
        const classes = [...element.classList].map(word => `.${word}`).join("");
        const text = element.textContent.trim().replace(/\s+/g, " ").slice(0, 40);
        return `<${element.localName}${id}${classes}>${text && ` "${text}"`}`;
    };

    // By how much `inner` sticks out, in words; empty if it doesn't.
    const outside = (inner, outer) =>
        ["left", "top", "right", "bottom"]
            .map(side => {
                const sign = side === "left" || side === "top" ? -1 : 1;
                return [side, sign * (inner[side] - outer[side])];
            })
            .filter(([, by]) => by > TOLERANCE)
            .map(([side, by]) => `${by.toFixed(0)} px at its ${side}`)
            .join(", ");

    const within = (inner, outer) => ({
        left: Math.min(Math.max(inner.left, outer.left), outer.right),
        right: Math.max(Math.min(inner.right, outer.right), outer.left),
        top: Math.min(Math.max(inner.top, outer.top), outer.bottom),
        bottom: Math.max(Math.min(inner.bottom, outer.bottom), outer.top),
    });

    // The boxes of the texts that are directly in an element, or of an SVG text as a whole.
    const boxes = element => {
        if (element.localName === "text") return [element.getBoundingClientRect()];
        const range = document.createRange();
        return [...element.childNodes]
            .filter(node => node.nodeType === Node.TEXT_NODE && node.data.trim())
            .flatMap(node => {
                range.selectNodeContents(node);
                return [...range.getClientRects()];
            });
    };
    const texts = () =>
        [...document.querySelectorAll("body *")].filter(element =>
            (element.localName === "text" || !element.closest("svg text")) &&
            !element.closest("script, style, svg title, svg desc") && visible(element));

    // What of an element's content can be seen, if need be by scrolling; null where nothing is cut off.
    const shown = element => {
        const box = element.getBoundingClientRect();
        if (element instanceof SVGElement) {
            if (element.localName !== "svg") return null;
            const cut = !element.ownerSVGElement || getComputedStyle(element).overflow !== "visible";
            return cut ? box : null;
        }
        const { overflowX, overflowY } = getComputedStyle(element);
        const whole = element === document.documentElement;
        const axis = (overflow, start, length, scrolled, scrollable) => {
            if (whole || overflow === "auto" || overflow === "scroll") {
                return [start - scrolled, start - scrolled + scrollable];
            }
            return overflow === "visible" ? [-Infinity, Infinity] : [start, start + length];
        };
        const left = whole ? 0 : box.left + element.clientLeft;
        const top = whole ? 0 : box.top + element.clientTop;
        const [x0, x1] = axis(overflowX, left, element.clientWidth,
            whole ? scrollX : element.scrollLeft, element.scrollWidth);
        const [y0, y1] = axis(overflowY, top, element.clientHeight,
            whole ? scrollY : element.scrollTop, element.scrollHeight);
        return { left: x0, right: x1, top: y0, bottom: y1, width: x1 - x0, height: y1 - y0 };
    };

    const clipped = () => texts().flatMap(element => {
        let inner = boxes(element).filter(box => size(box) > 0);
        if (!inner.length) return [];
        const found = [];
        for (let outer = element; outer; outer = outer.parentElement) {
            const box = shown(outer);
            if (!box) continue;
            // A box of a pixel hides a text from eyes and leaves it to screen readers.
            if (size(box) <= 1) return [];
            const worst = inner.map(text => outside(text, box)).find(Boolean);
            if (worst) found.push(`clipped: ${name(element)} is outside of <${outer.localName}> by ${worst}`);
            // What can be scrolled to is as good as inside, for whatever is around it.
            if (getComputedStyle(outer).overflowX !== "visible") inner = inner.map(text => within(text, outer.getBoundingClientRect()));
        }
        return found;
    });

    const overflowing = () => {
        const { scrollWidth, clientWidth } = document.documentElement;
        if (scrollWidth <= clientWidth) return [];
        const wide = [...document.querySelectorAll("body *")].filter(element =>
            visible(element) && element.getBoundingClientRect().right + scrollX > clientWidth + TOLERANCE);
        // The innermost: their parents are as wide because of them.
        const causes = wide.filter(element => ![...element.children].some(child => wide.includes(child)));
        return [`overflow: the page is ${scrollWidth} px wide in a window of ${clientWidth} px: ` +
            causes.slice(0, 5).map(name).join(", ")];
    };

    // The corners of an SVG text, which may be rotated.
    const corners = text => {
        const { x, y, width, height } = text.getBBox();
        const matrix = text.getScreenCTM();
        return [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
            .map(([x, y]) => new DOMPoint(x, y).matrixTransform(matrix));
    };
    // How deep two rectangles lie in each other: by the theorem of the separating axis, whose
    // candidates are the directions of their sides.
    const depth = (one, other) => {
        const axes = [one, other].flatMap(([a, b, , d]) => [[a, b], [a, d]]).map(([from, to]) => {
            const length = Math.hypot(to.x - from.x, to.y - from.y);
            return [(to.x - from.x) / length, (to.y - from.y) / length];
        });
        return Math.min(...axes.map(([x, y]) => {
            const along = points => points.map(point => point.x * x + point.y * y);
            const [p, q] = [along(one), along(other)];
            return Math.min(Math.max(...p), Math.max(...q)) - Math.max(Math.min(...p), Math.min(...q));
        }));
    };

    const overlapping = () => [...document.querySelectorAll("svg")]
        .filter(svg => !svg.ownerSVGElement)
        .flatMap(svg => {
            const all = [...svg.querySelectorAll("text")]
                .filter(text => visible(text) && size(text.getBoundingClientRect()) > 0)
                .map(text => ({ text, corners: corners(text) }));
            return all.flatMap((one, index) => all.slice(index + 1)
                .map(other => [other, depth(one.corners, other.corners)])
                .filter(([, depth]) => depth > TOLERANCE)
                .map(([other, depth]) =>
                    `overlap: ${name(one.text)} and ${name(other.text)} by ${depth.toFixed(0)} px`));
        });

    return { overflowing, clipped, overlapping };
})()
