"""What GitHub's notebook viewer leaves of an output, by the rules that GitHub has published for HTML of its users."""

from __future__ import annotations

import bleach

# https://github.com/gjtorikian/html-pipeline, its sanitization filter, which GitHub published: no style, no class, no
# script, and images over the network only, so that a data: URI goes and the alternative text stays
TAGS = """
a abbr b bdo blockquote br caption cite code dd del details dfn div dl dt em figcaption figure h1 h2 h3 h4 h5 h6 hr i
img ins kbd li mark ol p pre q rp rt ruby s samp small span strike strong sub summary sup table tbody td tfoot th thead
time tr tt ul var wbr
"""
ATTRIBUTES = """
abbr align alt aria-describedby aria-hidden aria-label aria-labelledby axis border cellpadding cellspacing colspan
datetime dir headers height id label lang name open rowspan scope size span start summary tabindex title type valign
value width
"""
OF_ONE_TAG = {"a": {"href"}, "img": {"src", "longdesc"}}
PROTOCOLS = {"http", "https", "mailto"}


def as_on_github(html: str) -> str:
    """Return what is left of an output's text/html."""

    def allowed(tag: str, name: str, _: str) -> bool:
        return name in ATTRIBUTES.split() or name in OF_ONE_TAG.get(tag, ())

    left = bleach.clean(html, tags=TAGS.split(), attributes=allowed, protocols=PROTOCOLS, strip=True)
    return str(left)
