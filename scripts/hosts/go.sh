# Go: bindings/go, shared and static. A part of scripts/hosts.sh.
need go:golang gcc:gcc

# Nothing of it comes from the network.
export GOFLAGS=-mod=mod GOPROXY=off GOTOOLCHAIN=local GOCACHE=$target/go-cache
cd bindings/go
[ -z "$(gofmt -l .)" ] || { echo "gofmt would change: $(gofmt -l .)"; exit 1; }
# The header in cgo, as strictly as in C; cgo's own wrappers do not use all they are given.
CGO_CFLAGS="-O2 -Wall -Wextra -Werror -pedantic -Wno-unused-parameter" go build .
go vet .
go test -race -count=1 .
go test -tags fqgan_static -count=1 -c -o "$work/go-static" .
! ldd "$work/go-static" | grep -q libfqgan || { echo "the static program asks for libfqgan.so"; exit 1; }
LD_LIBRARY_PATH= "$work/go-static" -test.run 'Cases|Example' >"$work/log" || { cat "$work/log"; exit 1; }
echo "  Go: vet, race detector, the cases, shared and static"

# From a clone of this commit, as a user has it.
rm -rf "$work/clone" "$work/user"
git clone -q --depth 1 "file://$(git rev-parse --show-toplevel)" "$work/clone"
if [ -f "$work/clone/bindings/go/go.mod" ]; then
  mkdir -p "$work/user"
  cat >"$work/user/main.go" <<'END'
package main

import "fqgan"

func main() { println(fqgan.Version()) }
END
  cat >"$work/user/go.mod" <<END
module user

go 1.19

require fqgan v0.0.0

replace fqgan => $work/clone/bindings/go
END
  (cd "$work/user" && go run .) 2>&1 | sed "s/^/  Go, from a clone: libfqgan /"
fi
