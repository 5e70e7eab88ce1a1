# Table 2: 50,000 new pictures of all classes beside ImageNet, by the ADM protocol, guidance 2, nothing cut off.
# FAR and TOKENIZER say which; the published generators are named by the codes they make.
for size in b l; do
  case $size in
    b) expected=(fid=3.38 inception_score=248.26) ;;
    l) expected=(fid=3.08 inception_score=272.52) ;;
  esac
  step samples-far-$size.npz -- \
    fqgan sample -g "$WEIGHTS/far_${size}_dual.pt" -m "$WEIGHTS/fqgan_dual_ds16.pt" --count "$COUNT" --guidance 2
  row far-$size "${expected[@]}" -- \
    fqgan eval samples "$OUT/samples-far-$size.npz" --reference "$REFERENCE" --inception "$INCEPTION"
done
