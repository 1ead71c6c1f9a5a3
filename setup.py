"""Packaging of turbo_tornado."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

# Not imported, because an isolated build does not have Tornado.
version = re.search(
    r'^__version__ = "(.+)"$',
    (HERE / "turbo_tornado" / "_version.py").read_text(encoding="utf-8"),
    re.MULTILINE,
)[1]

#: The address of the repository. Without it, the links to its files become text.
REPOSITORY = ""


def long_description():
    """Return the README without relative links, which a package index cannot resolve."""

    def absolute(link):
        is_image, text, path = link.groups()
        if REPOSITORY:
            view = "raw" if is_image else "blob"
            return f"{is_image}[{text}]({REPOSITORY}/{view}/v{version}/{path})"
        return "" if is_image else text

    text = (HERE / "README.md").read_text(encoding="utf-8")
    return re.sub(r"(!?)\[([^]]*)\]\((?!\w+:)([^)]+)\)", absolute, text)


setup(
    name="turbo_tornado",
    version=version,
    description="The asynchronous HTTP client of Turbo.lua, as a plugin to Tornado",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    keywords=[
        *("asyncio", "connection pool", "http", "http client", "keep-alive", "libcurl"),
        *("pycurl", "tornado", "turbo", "turbo.lua"),
    ],
    project_urls={
        "Turbo.lua": "https://github.com/kernelsauce/turbo",
        "Documentation of turbo.async": "https://turbo.readthedocs.io/en/latest/async.html",
        "Tornado": "https://www.tornadoweb.org",
        **({"Source": REPOSITORY} if REPOSITORY else {}),
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: AsyncIO",
        "Framework :: Pytest",
        "Intended Audience :: Developers",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Programming Language :: Python :: 3.15",
        "Programming Language :: Python :: Implementation :: CPython",
        "Topic :: Internet :: WWW/HTTP",
        "Topic :: Software Development :: Libraries :: Python Modules",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["turbo_tornado", "turbo_tornado.*"]),
    # Not in the package, because pytest imports its plugins in each run.
    py_modules=["_turbo_tornado_pytest"],
    package_data={"turbo_tornado": ["py.typed"]},
    entry_points={
        "opentelemetry_instrumentor": [
            "turbo_tornado = turbo_tornado.opentelemetry:TurboTornadoInstrumentor"
        ],
        "pytest11": ["turbo_tornado = _turbo_tornado_pytest"],
    },
    zip_safe=False,
    python_requires=">=3.10",
    install_requires=[
        "tornado>=6.4",
        "certifi",
        "idna>=3.4",
        "aiohappyeyeballs>=2.4",
    ],
    extras_require={
        "cli": ["tqdm>=4.66"],
        "curl": ["pycurl>=7.45.7"],
        "migrate": ["luaparser>=4"],
        "opentelemetry": [
            "opentelemetry-api>=1.31",
            "opentelemetry-instrumentation>=0.52b0",
        ],
        "test": [
            "coverage>=7.10",
            "hypothesis>=6.100",
            "h2>=4.1",
            # lupa has no wheel for Python 3.15.
            "lupa>=2; python_version < '3.15'",
            "markdown-it-py>=3",
            "pytest>=8.2",
            "pytest-asyncio>=0.24",
            "pytest-cov>=6",
            "pytest-randomly>=3.15",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "tenacity>=9",
            "trustme>=1.2",
        ],
        "peers": [
            "aiohttp>=3.10",
            "httpbin>=0.10.4",
            "opentelemetry-distro>=0.52b0",
            "opentelemetry-instrumentation-tornado>=0.52b0",
            "opentelemetry-sdk>=1.31",
            "pytest-recording>=0.13",
            "vcrpy>=7",
            "waitress>=3",
        ],
        "docs": [
            "furo>=2024.8",
            "myst-parser>=4",
            "sphinx>=8",
            "sphinx-copybutton>=0.5.2",
        ],
        "dev": [
            "build",
            "mypy",
            "pre-commit",
            "ruff",
            "tox>=4.11",
            "turbo_tornado[cli,curl,docs,migrate,peers,test]",
            "twine",
            "uvloop",
        ],
    },
)
