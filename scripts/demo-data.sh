#!/usr/bin/env bash
# Makes the pictures that the demo models are trained on: emoji of 64 pixels by two vendors, on white, a folder a
# category, 5 % held out.
#
#   scripts/demo-data.sh [DIR]     into DIR (default: build/demo-data); returns at once when it is there
#
# DIR/train and DIR/held-out have the same categories. An emoji is on one side with all its versions: both vendors',
# every skin tone, man, woman and person, walking left and right; else the held-out ones would be known by their
# likes. The five swatches of skin tones ("Component") are left out.
# Pictures: Noto Emoji (Google, Apache-2.0) and Twemoji (Twitter and others, CC-BY 4.0), from the npm packages below.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/need.sh"
dir=${1:-$root/build/demo-data}
[[ -e $dir ]] && { [[ -f $dir/ATTRIBUTION.md ]] && exit 0; echo "$dir: exists, and is not of this script" >&2; exit 1; }

need npm:npm python3:python3 sha256sum:coreutils
python3 -c 'import ensurepip, venv' 2>/dev/null || need_packages python3-venv

mkdir -p "$(dirname "$dir")"
dir=$(cd "$(dirname "$dir")" && pwd)/$(basename "$dir")
# Beside its place, so that the last step is a rename.
work=$(mktemp -d -p "$(dirname "$dir")")
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent emoji-datasource-google@16.0.0 emoji-datasource-twitter@16.0.0 >/dev/null
sha256sum --check --quiet <<'SUMS'
fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438  emoji-datasource-google-16.0.0.tgz
f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877  emoji-datasource-twitter-16.0.0.tgz
SUMS
for vendor in google twitter; do
  mkdir $vendor
  tar xzf emoji-datasource-$vendor-16.0.0.tgz -C $vendor --strip-components 1 \
    package/emoji.json package/LICENSE package/img/$vendor/64
done
python3 -m venv venv
venv/bin/python -m pip --disable-pip-version-check --quiet install 'pillow>=10'

venv/bin/python - <<'PY'
import hashlib, json, os, re
from PIL import Image

TONES = {f"1F3F{x}" for x in "BCDEF"}
# Joiners, the signs of women and men, the arrow of those who face right, the emoji style.
SILENT = TONES | {"200D", "FE0F", "2640", "2642", "27A1"}
PEOPLE = {"1F468", "1F469"}            # man, woman: like 1F9D1, a person

def held_out(unified):
    kind = "-".join("1F9D1" if c in PEOPLE else c for c in unified.split("-") if c not in SILENT)
    return int(hashlib.sha256(kind.encode()).hexdigest()[:8], 16) % 20 == 0

emoji = [e for e in json.load(open("google/emoji.json")) if e["category"] != "Component"]
folder = {c: re.sub(r"[^a-z]+", "-", c.lower()) for c in {e["category"] for e in emoji}}
for side in ("train", "held-out"):
    for name in folder.values():
        os.makedirs(f"data/{side}/{name}")
count = {"train": 0, "held-out": 0}
for e in emoji:
    side = "held-out" if held_out(e["unified"]) else "train"
    for version in [e, *e.get("skin_variations", {}).values()]:
        for vendor, name in (("google", "noto"), ("twitter", "twemoji")):
            if not version[f"has_img_{vendor}"]:
                continue
            picture = Image.open(f"{vendor}/img/{vendor}/64/{version['image']}").convert("RGBA")
            white = Image.new("RGBA", picture.size, "white")
            white.alpha_composite(picture)
            white.convert("RGB").save(f"data/{side}/{folder[e['category']]}/{name}-{version['image']}")
            count[side] += 1
print(f"{count['train']} pictures to train on, {count['held-out']} held out, {len(folder)} categories")
PY

cp google/LICENSE data/LICENSE.emoji-data
cat >data/ATTRIBUTION.md <<'TEXT'
# Where these pictures are from

| files | work | by | licence |
|---|---|---|---|
| `noto-*.png` | [Noto Emoji](https://github.com/googlefonts/noto-emoji) 2.048 | Google and contributors | pictures: [Apache-2.0](https://github.com/googlefonts/noto-emoji/blob/main/LICENSE); fonts: OFL-1.1 |
| `twemoji-*.png` | [Twemoji](https://github.com/jdecked/twemoji) 16.0.1 | Copyright Twitter, Inc. and other contributors | [CC-BY 4.0](https://creativecommons.org/licenses/by/4.0/) |

Taken at 64 pixels from the npm packages emoji-datasource-google and emoji-datasource-twitter 16.0.0
(https://github.com/iamcal/emoji-data, MIT: LICENSE.emoji-data), which name the categories too.
Changes: transparent pixels were laid over white, and the pictures were sorted into folders.
TEXT
mv data "$dir"
