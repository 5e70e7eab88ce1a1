//go:build fqgan_static

package fqgan

// #cgo pkg-config: fqgan-static
import "C"
