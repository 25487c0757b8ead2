"""Chat templates in files: what is refused without a tokenizer."""

import pytest

from ponder.chat_templates import check_template_file
from ponder.errors import InputError


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "turns.jinja"

    def write(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_what_transformers_adds_to_jinja_is_no_mistake(template):
    loop = "{% for m in messages %}{%- generation -%}{{ m.content }}{% endgeneration %}{% continue %}{% endfor %}"
    check_template_file(template(loop))


def test_a_mistake_is_told_with_file_line_and_key(template):
    with pytest.raises(InputError, match=r"^chat_template_file .*turns.jinja, line 3: this is not a Jinja template: "):
        check_template_file(template("{% if true %}\n\n{% endfor %}"))


def test_a_file_that_is_no_text_is_refused(template):
    with pytest.raises(InputError, match=r"chat_template_file .*turns.jinja cannot be read"):
        check_template_file(template(b"\xff\xfe"))
