# Table 4: heads of the generator. The paper gives 3.74 to 4.37 for the autoregressive head's sizes; the published one
# has three layers.
# A generator that is in RUNS already is not trained again.
for head in linear:5.19 mlp:5.59 ar:3.74-4.37; do
  name=${head%:*}
  made "$RUNS/table4-$name/last.safetensors" -- \
    fqgan-train far --recipe table4-$name --codes "${CODES:-}" --out "$RUNS/table4-$name" --resume
  step samples-table4-$name.npz -- \
    fqgan sample -g "$RUNS/table4-$name/last.safetensors" -m "$WEIGHTS/fqgan_dual_ds16.pt" --count "$COUNT" --guidance 2
  row $name fid=${head#*:} -- \
    fqgan eval samples "$OUT/samples-table4-$name.npz" --reference "$REFERENCE" --inception "$INCEPTION"
done
