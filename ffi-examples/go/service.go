package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/draw"
	_ "image/gif"
	_ "image/jpeg"
	"image/png"
	"io"
	"log"
	"net/http"
	"strconv"
	"time"

	"fqgan"
)

//go:embed page
var page embed.FS

// Limits are what a request may ask for.
type Limits struct {
	Body          int64
	Pixels, Calls int
	Time          time.Duration
}

// Service answers:
//
//	GET  /                the page
//	GET  /info            what the models are
//	POST /encode          a PNG, JPEG or GIF -> codes as JSON, or as a .fqc file (Accept: application/octet-stream)
//	POST /decode?mask=M   codes as JSON, or a .fqc file -> a PNG
//	GET  /generate?class=C&seed=S&guidance=G&temperature=T&topk=K
//	                      server-sent events: "row" with the rows so far as a PNG, "done" with the codes, "failed"
type Service struct {
	tokenizer *fqgan.Tokenizer
	generator *fqgan.Generator
	limits    Limits
	calls     chan struct{}
	mux       *http.ServeMux
}

// codes are codes as JSON has them: an array for each sub-codebook, row by row.
type codes struct {
	Width  int        `json:"width"`
	Height int        `json:"height"`
	Books  [][]uint32 `json:"books"`
}

// NewService makes a service; generator may be nil.
func NewService(tokenizer *fqgan.Tokenizer, generator *fqgan.Generator, limits Limits) (*Service, error) {
	if limits.Body <= 0 || limits.Pixels <= 0 || limits.Calls <= 0 || limits.Time <= 0 {
		return nil, fmt.Errorf("limits that are not above 0: %+v", limits)
	}
	if generator != nil {
		t, g := tokenizer.Info(), generator.Info()
		if t.Codebooks != g.Codebooks || t.CodebookSize != g.CodebookSize {
			return nil, errors.New("the generator's codes are not the tokenizer's")
		}
	}
	s := &Service{tokenizer, generator, limits, make(chan struct{}, limits.Calls), http.NewServeMux()}
	s.mux.HandleFunc("/", s.page)
	s.mux.HandleFunc("/info", s.only(http.MethodGet, s.info))
	s.mux.HandleFunc("/encode", s.only(http.MethodPost, s.limited(s.encode)))
	s.mux.HandleFunc("/decode", s.only(http.MethodPost, s.limited(s.decode)))
	s.mux.HandleFunc("/generate", s.only(http.MethodGet, s.limited(s.generate)))
	return s, nil
}

func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src 'self' blob: data:")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

func (s *Service) page(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/" {
		r.URL.Path = "/page/"
	} else {
		r.URL.Path = "/page" + r.URL.Path
	}
	http.FileServer(http.FS(page)).ServeHTTP(w, r)
}

func (s *Service) only(method string, handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			w.Header().Set("Allow", method)
			http.Error(w, "only "+method, http.StatusMethodNotAllowed)
			return
		}
		handler(w, r)
	}
}

// limited keeps to the limits of body, time and calls.
func (s *Service) limited(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.calls <- struct{}{}:
			defer func() { <-s.calls }()
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many calls are under way", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), s.limits.Time)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, s.limits.Body)
		handler(w, r.WithContext(ctx))
	}
}

// fail answers with the status that an error calls for.
func fail(w http.ResponseWriter, err error) {
	var large *http.MaxBytesError
	code := http.StatusInternalServerError
	switch {
	case errors.As(err, &large):
		code = http.StatusRequestEntityTooLarge
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled):
		return // Nobody listens any more.
	case errors.Is(err, fqgan.ErrInvalidArgument), errors.Is(err, fqgan.ErrFormat), errors.Is(err, errRequest):
		code = http.StatusBadRequest
	case errors.Is(err, fqgan.ErrOutOfMemory):
		code = http.StatusServiceUnavailable
	default:
		log.Print(err)
		err = errors.New("it failed on our side")
	}
	http.Error(w, err.Error(), code)
}

// errRequest is what is wrong with a request itself.
var errRequest = errors.New("bad request")

func wrong(format string, values ...any) error {
	return fmt.Errorf("%w: %s", errRequest, fmt.Sprintf(format, values...))
}

func send(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Print(err)
	}
}

func (s *Service) info(w http.ResponseWriter, r *http.Request) {
	answer := map[string]any{"version": fqgan.Version(), "tokenizer": s.tokenizer.Info()}
	if s.generator != nil {
		answer["generator"] = s.generator.Info()
	}
	send(w, answer)
}

// picture reads a picture; its size is looked at before its pixels are.
func (s *Service) picture(body io.Reader) (image.Image, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, err
	}
	config, _, err := image.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil, wrong("not a PNG, JPEG or GIF: %v", err)
	}
	if config.Width <= 0 || config.Height <= 0 || config.Width > s.limits.Pixels/config.Height {
		return nil, wrong("%d x %d pixels, at most %d are taken", config.Width, config.Height, s.limits.Pixels)
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, wrong("%v", err)
	}
	// Whole patches: a rest on the right and below is left out.
	f, b := s.tokenizer.Info().Downsample, img.Bounds()
	size := image.Pt(b.Dx()/f*f, b.Dy()/f*f)
	if size.X == 0 || size.Y == 0 {
		return nil, wrong("%d x %d pixels are no patch of %d", b.Dx(), b.Dy(), f)
	}
	if size == b.Size() {
		return img, nil
	}
	part := image.NewNRGBA(image.Rectangle{Max: size})
	draw.Draw(part, part.Rect, img, b.Min, draw.Src)
	return part, nil
}

func (s *Service) encode(w http.ResponseWriter, r *http.Request) {
	img, err := s.picture(r.Body)
	if err != nil {
		fail(w, err)
		return
	}
	made, err := s.tokenizer.Encode(r.Context(), img)
	if err != nil {
		fail(w, err)
		return
	}
	if r.Header.Get("Accept") != "application/octet-stream" {
		send(w, asJSON(made))
		return
	}
	packed, err := made.MarshalBinary()
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(packed)
}

func asJSON(made *fqgan.Codes) codes {
	out, cells := codes{Width: made.GridWidth, Height: made.GridHeight}, made.GridWidth*made.GridHeight
	for book := 0; book < made.Codebooks; book++ {
		out.Books = append(out.Books, made.Data[book*cells:][:cells])
	}
	return out
}

// read reads codes of one image.
func (s *Service) read(r *http.Request) (*fqgan.Codes, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	info, made := s.tokenizer.Info(), new(fqgan.Codes)
	if r.Header.Get("Content-Type") != "application/json" {
		if err := made.UnmarshalBinary(data); err != nil {
			return nil, err
		}
	} else {
		var sent codes
		if err := json.Unmarshal(data, &sent); err != nil {
			return nil, wrong("%v", err)
		}
		*made = fqgan.Codes{
			Count: 1, Codebooks: len(sent.Books), CodebookSize: info.CodebookSize, GridWidth: sent.Width, GridHeight: sent.Height,
		}
		for _, book := range sent.Books {
			made.Data = append(made.Data, book...)
		}
	}
	f := info.Downsample
	if made.Count != 1 || made.GridWidth <= 0 || made.GridHeight <= 0 || made.GridWidth > s.limits.Pixels/f/f/made.GridHeight {
		return nil, wrong("%d images of %d x %d codes", made.Count, made.GridWidth, made.GridHeight)
	}
	return made, nil
}

func (s *Service) decode(w http.ResponseWriter, r *http.Request) {
	mask, err := number(r, "mask", 0)
	if err != nil || mask >= 1<<s.tokenizer.Info().Codebooks {
		fail(w, wrong("a mask of sub-codebooks, not %q", r.FormValue("mask")))
		return
	}
	made, err := s.read(r)
	if err != nil {
		fail(w, err)
		return
	}
	drawn, err := s.png(r.Context(), made, uint32(mask), made.GridHeight)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "image/png")
	w.Write(drawn)
}

// png is the image of codes, its first rows of patches.
func (s *Service) png(ctx context.Context, made *fqgan.Codes, mask uint32, rows int) ([]byte, error) {
	images, err := s.tokenizer.Decode(ctx, made, mask)
	if err != nil {
		return nil, err
	}
	bounds := images[0].Rect
	bounds.Max.Y = rows * s.tokenizer.Info().Downsample
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	err = encoder.Encode(&out, images[0].SubImage(bounds))
	return out.Bytes(), err
}

func number(r *http.Request, name string, usual uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return usual, nil
	}
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, wrong("%s is %q, expected a number", name, text)
	}
	return value, nil
}

func real(r *http.Request, name string) (float32, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return 0, nil
	}
	value, err := strconv.ParseFloat(text, 32)
	if err != nil {
		return 0, wrong("%s is %q, expected a number", name, text)
	}
	return float32(value), nil
}

// sampling reads what to generate.
func (s *Service) sampling(r *http.Request) (class uint64, how fqgan.Sampling, err error) {
	var topK uint64
	for _, read := range []func() error{
		func() (err error) { class, err = number(r, "class", 0); return },
		func() (err error) { how.Seed, err = number(r, "seed", 0); return },
		func() (err error) { topK, err = number(r, "topk", 0); return },
		func() (err error) { how.Guidance, err = real(r, "guidance"); return },
		func() (err error) { how.Temperature, err = real(r, "temperature"); return },
	} {
		if err := read(); err != nil {
			return 0, how, err
		}
	}
	info := s.generator.Info()
	if class >= uint64(info.Classes) || topK > uint64(info.CodebookSize) {
		return 0, how, wrong("class %d of %d, top k %d of %d", class, info.Classes, topK, info.CodebookSize)
	}
	how.TopK = int(topK)
	return class, how, nil
}

func (s *Service) generate(w http.ResponseWriter, r *http.Request) {
	stream, can := w.(http.Flusher)
	if s.generator == nil || !can {
		http.Error(w, "there is no generator", http.StatusNotFound)
		return
	}
	class, how, err := s.sampling(r)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	event := func(name string, value any) {
		data, err := json.Marshal(value)
		if err != nil {
			log.Print(err)
			return
		}
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, data)
		stream.Flush()
	}
	width := s.generator.Info().GridWidth
	how.Progress = func(p fqgan.Progress) {
		if p.Done%width != 0 {
			return
		}
		rows := p.Done / width
		drawn, err := s.png(r.Context(), p.Codes, 0, rows)
		if err != nil {
			return // The call ends with the same context, or the next row tells.
		}
		event("row", map[string]any{
			"rows": rows, "of": s.generator.Info().GridHeight,
			"image": "data:image/png;base64," + base64.StdEncoding.EncodeToString(drawn),
		})
	}
	made, err := s.generator.Generate(r.Context(), []uint32{uint32(class)}, &how)
	if err != nil {
		event("failed", map[string]string{"message": err.Error()})
		return
	}
	event("done", asJSON(made))
}
