# Table 3: what each part of the training is good for. FQGAN-Dual f16 and the plain VQGAN, 10 epochs each.
# A tokenizer that is in RUNS already is not trained again.
for part in vqgan:3.71 factorized:2.00 disentangle:1.84 semantic:1.73 both:1.66; do
  name=${part%:*}
  teacher=()
  case $name in semantic | both) teacher=(--teacher clip_l14="${CLIP:-}") ;; esac
  made "$RUNS/table3-$name/last.safetensors" -- \
    fqgan-train tokenizer --recipe table3-$name --data "${TRAINING:-}" --held-out "$VALIDATION" --out "$RUNS/table3-$name" \
    --lpips "${LPIPS:-}" "${teacher[@]}" --resume
  row $name rfid=${part#*:} -- \
    fqgan eval reconstruction -m "$RUNS/table3-$name/last.safetensors" "$VALIDATION" --inception "$INCEPTION"
done
