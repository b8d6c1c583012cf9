"""Make ``plugins/sendit/dicom/iod_types.json`` from highdicom's copy of PS3.3.

For each SOP class: which of the attributes that recipes act on (PS3.15 Table E.1-1 and the
review of the dictionary) its IOD requires with a value (type 1, 1C) or at least empty (type 2,
2C). Everything else may be removed.

    .venv/bin/python tools/make_iod_types.py HIGHDICOM_PACKAGE_FOLDER

highdicom 0.28.2 (MIT) carries the tables of PS3.3 as JSON.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from pydicom.datadict import tag_for_keyword

from sendit.recipe.profile import EDITION, table
from sendit.recipe.review import Holds, review

TARGET = Path(__file__).parents[1] / "plugins/sendit/dicom/iod_types.json"


def main() -> None:
    """Read the tables and write the data file."""
    standard = Path(sys.argv[1]) / "_standard"
    wanted = {row.number for row in table() if row.number is not None}
    wanted |= {
        one.tag
        for one in review()
        if one.holds.acted_on and one.holds is not Holds.CODE_MEANING  # needed wherever it is
    }
    modules = json.loads((standard / "module_attribute_map.json").read_text("utf-8"))
    iods = json.loads((standard / "iod_module_map.json").read_text("utf-8"))
    classes = json.loads((standard / "sop_class_iod_map.json").read_text("utf-8"))

    types: dict[str, dict[str, list[str]]] = {}
    for name, attributes in modules.items():
        paths: dict[str, dict[str, None]] = defaultdict(dict)
        for attribute in attributes:
            tag = tag_for_keyword(attribute["keyword"])
            level = attribute["type"][0]
            if tag not in wanted or level == "3":
                continue
            path: list[str] = []
            for keyword in attribute["path"]:
                parent = f"{tag_for_keyword(keyword) or 0:08x}"
                if not path or path[-1] != parent:  # a content item within a content item
                    path.append(parent)
            paths[level]["/".join([*path, f"{tag:08x}"])] = None
        if paths:
            types[name] = {level: sorted(each) for level, each in sorted(paths.items())}
    data = {
        "source": f"PS3.3 as in highdicom 0.28.2 (MIT); PS3.15 {EDITION} E.1-1, review",
        "attributes": sorted(f"{tag:08x}" for tag in wanted),
        "classes": classes,
        "iods": {
            name: [module["key"] for module in iod if module["key"] in types]
            for name, iod in iods.items()
            if name in set(classes.values())
        },
        "modules": types,
    }
    TARGET.write_text(json.dumps(data, separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main()
