"""What can be computed of how a page looks: contrast, room for its texts, and what axe-core finds."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from playwright.sync_api import Locator

from .server import ROOT

AXE = ROOT / "labextension" / "node_modules" / "axe-core" / "axe.min.js"

# any colour that CSS can say becomes bytes on a canvas; backgrounds are laid over each other up to the page's own
FAINT_TEXTS = """root => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const bytes = colour => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3]));
    const background = element => {
        if (element === null) return [255, 255, 255];
        const own = bytes(getComputedStyle(element).backgroundColor);
        return own[3] === 1 ? own : over(own, background(element.parentElement));
    };
    const opacity = element =>
        element === null ? 1 : Number(getComputedStyle(element).opacity) * opacity(element.parentElement);
    const luminance = rgb => rgb
        .map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const contrast = element => {
        const behind = background(element);
        const colour = bytes(getComputedStyle(element).color);
        colour[3] *= opacity(element);
        const [a, b] = [luminance(over(colour, behind)), luminance(behind)].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
    };
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const seen = new Set();
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        const worded = /[\\p{L}\\p{N}]/u.test(walker.currentNode.textContent);
        if (worded && element.checkVisibility() && !element.closest(':disabled, svg')) seen.add(element);
    }
    const told = [...seen].map(each => [each.textContent.slice(0, 60), each.className, contrast(each)]);
    return { texts: told.length, faint: told.filter(each => each[2] < 4.5) };
}"""

# Texts that are cut off by a part that hides what is too wide, that stand out of the page's part, or lie on each other.
# What scrolls is not cut, and an ellipsis says that there is more.
CRAMPED_TEXTS = """root => {
    const scrolls = element => ['auto', 'scroll'].includes(getComputedStyle(element).overflowX);
    const cuts = element => ['hidden', 'clip'].includes(getComputedStyle(element).overflowX);
    const unseen = element => element.closest('.jp-hwprune-unseen, .hwprune-unseen, svg, option, [aria-hidden=true]');
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const boxes = [];
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!/\\S/.test(walker.currentNode.textContent) || !element.checkVisibility() || unseen(element)) continue;
        const range = document.createRange();
        range.selectNodeContents(walker.currentNode);
        for (const box of range.getClientRects()) {
            if (box.width > 1 && box.height > 1) boxes.push({ element, box, text: walker.currentNode.textContent });
        }
    }
    const told = [];
    for (const { element, box, text } of boxes) {
        for (let outer = element; outer !== null && !scrolls(outer); outer = outer.parentElement) {
            const edge = outer.getBoundingClientRect();
            const elided = getComputedStyle(outer).textOverflow === 'ellipsis';
            if ((cuts(outer) || outer === root) && !elided && box.right > edge.right + 1.5) {
                told.push(['cut', text.trim().slice(0, 60), outer.className]);
            }
            if (elided || outer === root) break;
        }
    }
    const seen = ({ element, box }) => {  // what the parts around it let through
        let [left, right, top, bottom] = [box.left, box.right, box.top, box.bottom];
        for (let outer = element; outer !== null && outer !== root; outer = outer.parentElement) {
            if (getComputedStyle(outer).overflowX === 'visible') continue;
            const edge = outer.getBoundingClientRect();
            [left, right] = [Math.max(left, edge.left), Math.min(right, edge.right)];
            [top, bottom] = [Math.max(top, edge.top), Math.min(bottom, edge.bottom)];
        }
        return { left, right, top, bottom };
    };
    const shown = boxes.map(seen);
    const within = (a, b) => a.contains(b) || b.contains(a);
    boxes.forEach((one, index) => boxes.slice(index + 1, index + 400).forEach((other, after) => {
        const [a, b] = [shown[index], shown[index + 1 + after]];
        const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (width > 3 && height > 4 && !within(one.element, other.element)) {
            told.push(['overlap', one.text.trim().slice(0, 40), other.text.trim().slice(0, 40)]);
        }
    }));
    return { texts: boxes.length, cramped: told.slice(0, 20) };
}"""

BROKEN_WORDS = """root => {
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    const broken = [];
    while (walker.nextNode()) {
        const node = walker.currentNode;
        if (!node.parentElement.checkVisibility() || node.parentElement.closest('svg, option')) continue;
        for (const { 0: word, index } of node.textContent.matchAll(/\\p{L}+/gu)) {
            const range = document.createRange();
            range.setStart(node, index);
            range.setEnd(node, index + word.length);
            const tops = new Set([...range.getClientRects()].filter(box => box.width > 1).map(box => box.top));
            if (tops.size > 1) broken.push(word);
        }
    }
    return broken.slice(0, 20);
}"""

SHARED_IDS = """root => [...new Set([...root.querySelectorAll('[id]')].map(element => element.id))]
    .filter(id => document.querySelectorAll(`[id="${CSS.escape(id)}"]`).length > 1)"""


def faint_texts(part: Locator) -> list[Any]:
    """Return the texts of a part of the page whose contrast to what is behind them is below 4.5:1."""
    found = part.evaluate(FAINT_TEXTS)
    assert found["texts"] > 5, f"only {found['texts']} texts are there to look at"
    faint: list[Any] = found["faint"]
    return faint


def cramped_texts(part: Locator) -> list[Any]:
    """Return the texts of a part of the page that are cut off without a sign, or that lie on one another."""
    found = part.evaluate(CRAMPED_TEXTS)
    assert found["texts"] > 5, f"only {found['texts']} texts are there to look at"
    cramped: list[Any] = found["cramped"]
    return cramped


def broken_words(part: Locator) -> list[str]:
    """Return the words of a part of the page that go on in the next line."""
    broken: list[str] = part.evaluate(BROKEN_WORDS)
    return broken


def violations(part: Locator) -> list[str]:
    """Return what axe-core finds serious or critical in a part of the page, and its ids that stand twice on the page.

    Of ids axe-core is not sure; a label that names another thing than its own control is one to us.
    """
    part.page.evaluate(axe())
    found = part.evaluate(
        "root => axe.run(root, { resultTypes: ['violations'] }).then(result => result.violations.map("
        "each => [each.impact, each.id, each.help, each.nodes.slice(0, 3).map(node => node.html)]))"
    )
    twice: list[str] = part.evaluate(SHARED_IDS)
    return [str(each) for each in found if each[0] in {"serious", "critical"}] + twice


@functools.cache
def axe() -> str:
    if not AXE.exists():
        pytest.fail("axe-core is not installed, and the browser tests need it: make labextension", pytrace=False)
    return AXE.read_text()
