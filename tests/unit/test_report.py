"""The page: complete, offline, and readable by someone who was not there."""

import re
from html.parser import HTMLParser

import pytest

from closerlook.diagnostics.gradients.figure import plot_gradient_quality
from closerlook.drawing.style import save_figure
from closerlook.drawing.training import plot_training
from closerlook.report import Demo, demo_page
from closerlook.results.store import RunFolder
from cosines import cosine_dataset, training_log

VERDICT = {"area": "gradients", "level": "watch", "statement": "A <b>statement</b>.", "evidence": {}, "advice": "Do."}


class Page(HTMLParser):
    """Collects text and attributes, and checks that tags are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.sources, self.images = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.sources += [found[name] for name in ("src", "href") if name in found]
        if tag == "img":
            self.images.append(found)
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture
def page(tmp_path):
    dataset = cosine_dataset()
    dataset["mean_episode_return"][:] = [10.0, 20.0, 300.0, 400.0]
    for part, axis in (("training", plot_training(training_log())), ("gradients", plot_gradient_quality(dataset))):
        RunFolder(tmp_path / part).open_for(part, {"seed": 0}).finish(1)
        save_figure(axis, tmp_path / part / part, formats=["svg"])
    return Page(demo_page(Demo(tmp_path, dataset, [VERDICT])))


def test_the_page_needs_no_network(page):
    linked = [source for source in page.sources if not source.startswith("data:")]
    assert linked == ["https://arxiv.org/abs/1811.02553"]  # a link to follow, nothing to load
    assert [image["src"][:26] for image in page.images] == ["data:image/svg+xml;base64,"] * 2
    assert all(len(image["alt"]) > 20 for image in page.images)


def test_the_page_says_what_was_done_and_what_came_out(page):
    assert "Two agents learned Hopper-v5 with PPO" in page.text
    assert "15 → 350" in page.text
    assert "0.65 → 0.21" in page.text
    assert "iteration 60, seed 1" in page.text
    assert "Agreement fell" in page.text
    assert "closerlook gradients" in page.text
    assert "MuJoCo" in page.text


def test_text_from_outside_is_text(page):
    assert "Watch. A <b>statement</b>. Do." in page.text


def test_a_rise_is_not_called_a_fall(tmp_path):
    dataset = cosine_dataset()
    dataset["pairwise_cosine"][:] = dataset["pairwise_cosine"].values[::-1].copy()
    for part, axis in (("training", plot_training(training_log())), ("gradients", plot_gradient_quality(dataset))):
        RunFolder(tmp_path / part).open_for(part, {"seed": 0})
        save_figure(axis, tmp_path / part / part, formats=["svg"])
    assert "Agreement did not fall" in Page(demo_page(Demo(tmp_path, dataset, []))).text
