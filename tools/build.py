"""Build of the documentation in ``build/site``, by ``python -m tools.build``; a broken link is an error.

Sources are ``docs/``, which is also readable as it is, and the code: pages of environments and of the API are written
from tables and docstrings. All of it is put into ``build/docs`` and built from there by Zensical.
"""

import argparse
import re
import shutil
import subprocess
import sys
from os.path import relpath
from pathlib import Path
from time import monotonic

import yaml  # type: ignore[import-untyped]

from tools.check import check_site
from tools.notebook import to_markdown
from tools.pages import Page, api_page, environment_pages, list_of_environments

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BUILD = ROOT / "build"
STAGE = BUILD / "docs"
SITE = BUILD / "site"

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
MARK = "<!-- every environment -->"
LANGUAGES = {".py": "python", ".toml": "toml", ".cff": "yaml"}


def staged(source: Path) -> Path:
    """Return the path of a file of the repository in the site, relative to its root."""
    if source == ROOT / "README.md":
        return Path("index.md")
    if source.is_relative_to(DOCS):
        path = source.relative_to(DOCS)
        return path.with_suffix(".md") if path.suffix == ".ipynb" else path
    path = Path("repository") / source.relative_to(ROOT)
    return path if path.suffix == ".md" else path.with_name(path.name + ".md")


def up(page: Path, target: Path) -> str:
    """Return the relative link from a page to a file of the site."""
    return Path(relpath(target, page.parent)).as_posix()


class Stage:
    """Copies of files of the repository in the source of the site, with the files that they link to."""

    def __init__(self) -> None:
        self._done: set[Path] = set()

    def add(self, source: Path) -> None:
        """Copy a file, and the files outside ``docs/`` that it links to."""
        if source in self._done:
            return
        self._done.add(source)
        target = STAGE / staged(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md":
            target.write_text(self._relinked(source, source.read_text(encoding="utf-8")), encoding="utf-8")
        elif source.suffix == ".ipynb":
            target.write_text(self._relinked(source, to_markdown(source, target.parent)), encoding="utf-8")
        elif source.is_relative_to(DOCS):
            shutil.copyfile(source, target)
        else:
            target.write_text(self._shown(source), encoding="utf-8")

    def _shown(self, source: Path) -> str:
        language = LANGUAGES.get(source.suffix, "text")
        return f"# {source.name}\n\n```{language}\n{source.read_text(encoding='utf-8').rstrip()}\n```\n"

    def _relinked(self, source: Path, text: str) -> str:
        parts = FENCED.split(text)
        parts[::2] = [LINK.sub(lambda match: self._link(source, match), part) for part in parts[::2]]
        return "".join(parts)

    def _link(self, source: Path, match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        if not target.is_file() or not target.is_relative_to(ROOT):
            return match[0]  # pictures of the notebook, and broken links, which the check reports
        if not target.is_relative_to(DOCS) and target != ROOT / "README.md":
            self.add(target)
        return f"]({up(staged(source), staged(target))}{match[2] or ''})"


def stage(animations: bool) -> list[Page]:
    """Fill ``build/docs``; return the pages of environments."""
    shutil.rmtree(STAGE, ignore_errors=True)
    files = Stage()
    for source in sorted(DOCS.rglob("*")):
        if source.is_file():
            files.add(source)
    pages = environment_pages(STAGE, animations)
    for page in (*pages, api_page()):
        path = STAGE / page.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page.text, encoding="utf-8")
    overview = STAGE / "environments.md"
    text = overview.read_text(encoding="utf-8")
    if MARK not in text:
        raise SystemExit(f"docs/environments.md: the line {MARK} is missing, where the environments are listed")
    overview.write_text(text.replace(MARK, list_of_environments(pages)), encoding="utf-8")
    return pages


def configure(pages: list[Page]) -> Path:
    """Write the configuration of the build, with the environments in its navigation; return its path."""
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    config |= {"docs_dir": "docs", "site_dir": "site"}
    for section in config["nav"]:
        if "Every environment" in section:
            section["Every environment"] = [{page.title: page.path} for page in pages]
    path = BUILD / "mkdocs.yml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def main() -> int:
    """Build and check; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-animations", action="store_true", help="leave out the animations, which take longest")
    options = parser.parse_args()
    started = monotonic()
    pages = stage(not options.no_animations)
    config = configure(pages)
    shutil.rmtree(SITE, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(config)], check=False
    )
    if done.returncode:
        return done.returncode
    problems = check_site(SITE)
    print("\n".join(problems) or f"docs: {SITE.relative_to(ROOT)}, {monotonic() - started:.0f} s, no broken link")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
