# The wall of textures: ffi-examples/cpp/wall under Xvfb with Mesa. What is on the screen must be the pixels that the
# command line decodes. A part of scripts/hosts.sh.
need c++:g++ cmake:cmake make:make pngtopnm:netpbm Xvfb:xvfb xvfb-run:xvfb xauth:xauth sdl2-config:libsdl2-dev
need_packages libgl-dev libgl1-mesa-dri

build=$work/cmake-wall
{ cmake -S ffi-examples/cpp -B "$build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_FLAGS=-Werror && cmake --build "$build" --target wall; } >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# Parts of photographs as code files, one of which is damaged.
fqgan=$target/release/fqgan model=$FQGAN_TEST_FILES/capi-tokenizer.safetensors
generator=$FQGAN_TEST_FILES/capi-generator.safetensors
wall=$work/wall
rm -rf "$wall"
mkdir -p "$wall/tiles"
pngtopnm assets/photographs/astronaut.png >"$wall/photo.ppm" 2>/dev/null
count=0
for y in 0 32 64 96 128 160; do
  for x in 0 32 64 96 128 160 192 224; do
    pamcut -left $x -top $y -width 32 -height 32 "$wall/photo.ppm" | pnmtopng -quiet >"$wall/part.png"
    "$fqgan" encode --keep-size --model "$model" "$wall/part.png" -o "$wall/tiles/$(printf %02d $count).fqc" >/dev/null
    count=$((count + 1))
  done
done
head -c 40 "$wall/tiles/20.fqc" >"$wall/tiles/damaged" && mv "$wall/tiles/damaged" "$wall/tiles/20.fqc"

SDL_VIDEODRIVER=x11 LIBGL_ALWAYS_SOFTWARE=1 xvfb-run -a -s "-screen 0 1100x700x24" \
  "$build/wall" "$model" "$generator" "$wall/tiles" --demo "$wall/shot.ppm" >"$wall/said" 2>"$wall/log" ||
  { cat "$wall/said" "$wall/log"; exit 1; }
grep -q 'tiles 48' "$wall/said" && grep -q 'pictures finished 1, cancelled 1, updates [1-9]' "$wall/said" ||
  { cat "$wall/said"; exit 1; }
grep -q '20.fqc: ' "$wall/log" || { echo "the damaged file is not reported"; exit 1; }
loading=$(sed -n 's/.*while loading \([0-9]*\),.*/\1/p' "$wall/said")
[ "$loading" -ge 3 ] || { echo "only $loading frames while textures were loading"; exit 1; }

on_screen() { # X Y WIDTH HEIGHT PICTURE TIMES: the picture, enlarged, stands there
  pngtopnm "$5" | pamenlarge "$6" >"$wall/want.ppm"
  pamcut -left "$1" -top "$2" -width "$3" -height "$4" "$wall/shot.ppm" >"$wall/have.ppm"
  cmp "$wall/have.ppm" "$wall/want.ppm" || { echo "$5 is not at $1, $2 of $wall/shot.ppm"; exit 1; }
}
for i in 0 11 12 33 47; do
  "$fqgan" decode --model "$model" "$wall/tiles/$(printf %02d $i).fqc" -o "$wall/tile.png" >/dev/null
  on_screen $((i % 12 * 64)) $((30 + i / 12 * 64)) 64 64 "$wall/tile.png" 2
done
"$fqgan" generate -g "$generator" -m "$model" --class 1 --seed 1 -o "$wall/made.png" >/dev/null
on_screen 784 30 192 144 "$wall/made.png" 12
echo "  the wall: $(tr '\n' ' ' <"$wall/said")"
