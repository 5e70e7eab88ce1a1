# The Go service and its page, in a headless Chromium. A part of scripts/hosts.sh.
need go:golang gcc:gcc chromium:chromium

export GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOCACHE=$target/go-cache FQGAN_SHOTS=$work
cd ffi-examples/go
[ -z "$(gofmt -l .)" ] || { echo "gofmt would change: $(gofmt -l .)"; exit 1; }
go vet .
go test -race -count=1 . >"$work/log" 2>&1 || { tail -n 60 "$work/log"; exit 1; }
echo "  the service: encode, decode, generate, limits, and its page in Chromium"
