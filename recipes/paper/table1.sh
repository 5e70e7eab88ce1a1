# Table 1: what comes back of ImageNet's 50,000 validation pictures at 256 x 256.
row dual-f16 rfid=0.94 psnr=22.02 -- \
  fqgan eval reconstruction -m "$WEIGHTS/fqgan_dual_ds16.pt" "$VALIDATION" --inception "$INCEPTION"
row triple-f16 rfid=0.76 psnr=22.73 -- \
  fqgan eval reconstruction -m "$WEIGHTS/fqgan_triple_ds16.pt" "$VALIDATION" --inception "$INCEPTION"
row dual-f8 rfid=0.32 psnr=26.27 -- \
  fqgan eval reconstruction -m "$WEIGHTS/fqgan_dual_ds8.pt" "$VALIDATION" --inception "$INCEPTION"
row triple-f8 rfid=0.24 psnr=27.58 -- \
  fqgan eval reconstruction -m "$WEIGHTS/fqgan_triple_ds8.pt" "$VALIDATION" --inception "$INCEPTION"
