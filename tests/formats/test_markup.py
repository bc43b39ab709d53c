"""HTML by function calls: what goes in as text comes out as text."""

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.markup import Markup, element, join

# No surrogates: they are no text; no carriage returns: HTML makes them line feeds.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=30)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@given(TEXT, TEXT)
def test_text_and_attributes_are_read_back_as_they_were(text, attribute):
    reader = Reader()
    reader.feed(element("p", element("b", text), title=attribute or "x"))
    reader.close()
    assert reader.tags == [("p", {"title": attribute or "x"}), ("b", {})]
    assert "".join(reader.texts) == text


def test_only_markup_goes_in_as_it_stands():
    assert element("p", "a<b", Markup("<br>"), element("i", "&")) == "<p>a&lt;b<br><i>&amp;</i></p>"
    assert join(["<", Markup("<")]) == "&lt;<"
    assert isinstance(element("p"), Markup)


def test_attributes_are_named_as_html_names_them():
    assert element("p", class_="a", aria_label="b") == '<p class="a" aria-label="b"></p>'
    assert element("p", class_=None, hidden="") == "<p hidden></p>"
    assert element("svg", viewBox="0 0 1 1") == '<svg viewBox="0 0 1 1"></svg>'
    assert element("p", title="\"'<") == '<p title="&quot;&#x27;&lt;"></p>'


def test_void_elements_have_no_end():
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert element("rect", width="1") == '<rect width="1"/>'
    assert element("rect", element("title", "1")) == "<rect><title>1</title></rect>"
