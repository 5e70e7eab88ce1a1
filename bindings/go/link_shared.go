//go:build !fqgan_static

package fqgan

// A file for each way to link: by a tag inside of one file, the go command would take what it built the other way.

// #cgo pkg-config: fqgan
import "C"
