"""Makes ``docs/sql.md`` anew from the descriptions of tables and views.

Run by ``make docs``. What the page says stands in the descriptions.
"""

from pathlib import Path

from cspine_assets.domain.files import write_text
from cspine_assets.domain.warehouse.page import sql_page

if __name__ == "__main__":
    write_text(Path(__file__).with_name("sql.md"), sql_page())
