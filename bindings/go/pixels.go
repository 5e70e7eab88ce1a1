package fqgan

/*
#include "shim.h"
*/
import "C"

import (
	"image"
	"image/draw"
	"unsafe"
)

// PixelFormat is how a pixel stands in memory.
type PixelFormat int32

// The formats.
const (
	// RGB8 is bytes red, green, blue.
	RGB8 PixelFormat = C.FQGAN_PIXEL_RGB8
	// RGBA8 and BGRA8 have alpha last, which is ignored when read and written as 255.
	RGBA8 PixelFormat = C.FQGAN_PIXEL_RGBA8
	BGRA8 PixelFormat = C.FQGAN_PIXEL_BGRA8
	// RGBF32 is floats red, green, blue in [-1, 1].
	RGBF32 PixelFormat = C.FQGAN_PIXEL_RGB_F32
	// RGBF32Planar is a plane of floats for each of red, green and blue; the planes follow each other.
	RGBF32Planar PixelFormat = C.FQGAN_PIXEL_RGB_F32_PLANAR
)

// Pixels is a view of raw pixels: Bytes, or Floats for the formats of floats.
type Pixels struct {
	Format        PixelFormat
	Width, Height int
	// Stride is the bytes from one row to the next; 0: rows are packed. In planes, from row to row of a plane.
	Stride int
	Bytes  []byte
	Floats []float32
}

// PixelsOf is a view of an image, without a copy where it stands as the library can read it: NRGBA, and RGBA that is
// opaque. Others are converted.
func PixelsOf(img image.Image) Pixels {
	bounds := img.Bounds()
	view := Pixels{Format: RGBA8, Width: bounds.Dx(), Height: bounds.Dy()}
	switch of := img.(type) {
	case *image.NRGBA:
		view.Bytes, view.Stride = of.Pix, of.Stride
		if !bounds.Empty() {
			view.Bytes = of.Pix[of.PixOffset(bounds.Min.X, bounds.Min.Y):]
		}
		return view
	case *image.RGBA:
		if of.Opaque() {
			view.Bytes, view.Stride = of.Pix, of.Stride
			if !bounds.Empty() {
				view.Bytes = of.Pix[of.PixOffset(bounds.Min.X, bounds.Min.Y):]
			}
			return view
		}
	}
	size := image.Rect(0, 0, view.Width, view.Height)
	// The standard library has a quick way to RGBA only, which is the same where nothing is transparent.
	if opaque, is := img.(interface{ Opaque() bool }); is && opaque.Opaque() {
		to := image.NewRGBA(size)
		draw.Draw(to, size, img, bounds.Min, draw.Src)
		view.Bytes, view.Stride = to.Pix, to.Stride
	} else {
		to := image.NewNRGBA(size)
		draw.Draw(to, size, img, bounds.Min, draw.Src)
		view.Bytes, view.Stride = to.Pix, to.Stride
	}
	return view
}

// pointer checks that the slice has all that the sizes say: the library cannot see its end.
func (p *Pixels) pointer() (unsafe.Pointer, error) {
	row, planes, floats := 0, 1, false
	switch p.Format {
	case RGB8:
		row = 3
	case RGBA8, BGRA8:
		row = 4
	case RGBF32:
		row, floats = 12, true
	case RGBF32Planar:
		row, planes, floats = 4, 3, true
	default:
		return nil, invalid("pixel format %d is unknown, expected 0 to 4", p.Format)
	}
	const most = 1 << 24
	if p.Width <= 0 || p.Height <= 0 || p.Width > most || p.Height > most {
		return nil, invalid("an image of %d x %d pixels", p.Width, p.Height)
	}
	row *= p.Width
	stride := p.Stride
	if stride == 0 {
		stride = row
	}
	if stride < row || stride > 1<<32 {
		return nil, invalid("rows of %d bytes are %d bytes apart", row, stride)
	}
	need := stride*(p.Height*planes-1) + row
	have := len(p.Bytes)
	if floats {
		have = 4 * len(p.Floats)
	}
	if have < need {
		return nil, invalid("an image of %d x %d pixels has %d bytes, expected %d", p.Width, p.Height, have, need)
	}
	if floats {
		return unsafe.Pointer(&p.Floats[0]), nil
	}
	return unsafe.Pointer(&p.Bytes[0]), nil
}
