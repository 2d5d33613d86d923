"""Check of links, anchors and pictures of the built HTML, and of the search index, which the builder does not check."""

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = ("img", "script", "link", "source", "iframe")
"""Elements whose target a browser fetches with the page; the site must have all of them."""

HARMLESS = ("canonical", "next", "prev", "alternate")
"""Relations of ``<link>`` that are not fetched."""


class Page(HTMLParser):
    """Targets and anchors of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[tuple[str, str]] = []  # element, target
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the targets and the anchors of an element."""
        attributes = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := attributes.get(name))}
        for name in ("href", "src"):
            target = attributes.get(name)
            if target and attributes.get("rel") not in HARMLESS:
                self.targets.append((tag, target))


def check_site(site: Path) -> list[str]:
    """Return the problems of a built site."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    problems = [
        f"{path.relative_to(site)}: {problem}"
        for path, page in pages.items()
        if path.name != "404.html"  # its links start at the root of the published site
        for tag, target in page.targets
        if (problem := _problem(site, pages, path, tag, target))
    ]
    return problems + _search(site)


def _problem(site: Path, pages: dict[Path, Page], path: Path, tag: str, target: str) -> str | None:
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        outside = tag in LOADED and parts.scheme != "data"
        return f"{tag} is loaded from elsewhere, {target}" if outside else None
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if file.is_dir():
        file /= "index.html"
    if not file.is_relative_to(site.resolve()) or not file.is_file():
        return f"broken link {target}"
    anchor = unquote(parts.fragment)
    if anchor and not anchor.startswith("__") and file in pages and anchor not in pages[file].anchors:
        return f"no such anchor, {target}"
    return None


def _search(site: Path, word: str = "bandwidth") -> list[str]:
    index = json.loads((site / "search.json").read_text(encoding="utf-8"))
    return [] if word in json.dumps(index).lower() else [f"search.json: {word!r} is not found"]
