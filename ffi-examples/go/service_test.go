package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fqgan"
)

var usual = Limits{Body: 1 << 20, Pixels: 1 << 16, Calls: 4, Time: time.Minute}

// open makes a service of the small models that the Rust tests leave: scripts/hosts.sh makes them and says where.
func open(t *testing.T, limits Limits) (*httptest.Server, *Service) {
	t.Helper()
	folder := os.Getenv("FQGAN_TEST_FILES")
	if folder == "" {
		folder = filepath.Join("..", "..", "target", "tmp")
	}
	tokenizer, err := fqgan.OpenTokenizer(nil, filepath.Join(folder, "capi-tokenizer.safetensors"), nil)
	if err != nil {
		t.Fatalf("%v: run scripts/hosts.sh service, which makes it", err)
	}
	generator, err := fqgan.OpenGenerator(nil, filepath.Join(folder, "capi-generator.safetensors"), nil)
	if err != nil {
		t.Fatal(err)
	}
	service, err := NewService(tokenizer, generator, limits)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(service)
	t.Cleanup(func() { server.Close(); tokenizer.Close(); generator.Close() })
	return server, service
}

func picture(width, height int) []byte {
	img, random := image.NewNRGBA(image.Rect(0, 0, width, height)), rand.New(rand.NewSource(1))
	for y := 0; y < height; y++ {
		for x := 0; x < width; x++ {
			img.SetNRGBA(x, y, color.NRGBA{uint8(x * 7), uint8(y * 5), uint8(random.Intn(256)), 255})
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func call(t *testing.T, method, url, kind, accept string, body []byte) (int, []byte) {
	t.Helper()
	request, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	request.Header.Set("Accept", accept)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, data
}

func TestEncodeDecode(t *testing.T) {
	server, service := open(t, usual)
	// 34 x 29 pixels are 8 x 7 whole patches.
	status, data := call(t, "POST", server.URL+"/encode", "image/png", "", picture(34, 29))
	var made codes
	if err := json.Unmarshal(data, &made); err != nil || status != 200 {
		t.Fatal(status, string(data), err)
	}
	if made.Width != 8 || made.Height != 7 || len(made.Books) != 2 || len(made.Books[0]) != 56 {
		t.Fatalf("%+v", made)
	}
	_, packed := call(t, "POST", server.URL+"/encode", "image/png", "application/octet-stream", picture(34, 29))
	var unpacked fqgan.Codes
	if err := unpacked.UnmarshalBinary(packed); err != nil || unpacked.At(0, 1, 6, 7) != made.Books[1][55] {
		t.Fatal(err)
	}
	want, err := service.tokenizer.Decode(context.Background(), &unpacked, 2)
	if err != nil {
		t.Fatal(err)
	}
	for kind, body := range map[string][]byte{"application/json": data, "application/octet-stream": packed} {
		status, drawn := call(t, "POST", server.URL+"/decode?mask=2", kind, "", body)
		img, err := png.Decode(bytes.NewReader(drawn))
		if err != nil || status != 200 {
			t.Fatal(kind, status, err)
		}
		for y := 0; y < 28; y++ {
			for x := 0; x < 32; x++ {
				if color.NRGBAModel.Convert(img.At(x, y)) != want[0].NRGBAAt(x, y) {
					t.Fatal(kind, x, y, img.At(x, y))
				}
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	server, _ := open(t, Limits{Body: 20000, Pixels: 5000, Calls: 4, Time: time.Minute})
	huge := image.NewGray(image.Rect(0, 0, 5000, 5000))
	var bomb bytes.Buffer
	if err := png.Encode(&bomb, huge); err != nil {
		t.Fatal(err)
	}
	long := bytes.Repeat([]byte("x"), 30000)
	for i, c := range []struct {
		method, path, kind string
		body               []byte
		want               int
	}{
		{"GET", "/encode", "", nil, 405},
		{"POST", "/info", "", nil, 405},
		{"POST", "/encode", "", []byte("no picture"), 400},
		{"POST", "/encode", "", nil, 400},
		{"POST", "/encode", "", picture(3, 3), 400},
		{"POST", "/encode", "", picture(80, 80), 400},
		{"POST", "/encode", "", bomb.Bytes()[:19000], 400},
		{"POST", "/encode", "", bomb.Bytes(), 413},
		{"POST", "/encode", "", long, 413},
		{"POST", "/decode", "", long, 413},
		{"POST", "/decode", "", []byte("no codes"), 400},
		{"POST", "/decode", "application/json", []byte(`{"width": 1`), 400},
		{"POST", "/decode", "application/json", []byte(`{"width": 1, "height": 1, "books": [[1]]}`), 400},
		{"POST", "/decode", "application/json", []byte(`{"width": 1, "height": 1, "books": [[1], [64]]}`), 400},
		{"POST", "/decode", "application/json", []byte(`{"width": 1000000, "height": 1000000, "books": [[1], [2]]}`), 400},
		{"POST", "/decode", "application/json", []byte(`{"width": -1, "height": -1, "books": [[1], [2]]}`), 400},
		{"POST", "/decode?mask=4", "application/json", []byte(`{"width": 1, "height": 1, "books": [[1], [2]]}`), 400},
		{"POST", "/decode?mask=x", "", nil, 400},
		{"GET", "/generate?class=5", "", nil, 400},
		{"GET", "/generate?class=-1", "", nil, 400},
		{"GET", "/generate?seed=a", "", nil, 400},
		{"GET", "/generate?guidance=b", "", nil, 400},
		{"GET", "/generate?topk=65", "", nil, 400},
		{"GET", "/nothing", "", nil, 404},
		{"GET", "/../service.go", "", nil, 404},
	} {
		if status, data := call(t, c.method, server.URL+c.path, c.kind, "", c.body); status != c.want {
			t.Errorf("%d: %s %s: %d %.100s, expected %d", i, c.method, c.path, status, data, c.want)
		}
	}
}

type event struct {
	name string
	data map[string]any
}

func events(t *testing.T, body io.Reader, each func(event) bool) {
	t.Helper()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	var next event
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "event: "):
			next.name = line[7:]
		case strings.HasPrefix(line, "data: "):
			if err := json.Unmarshal([]byte(line[6:]), &next.data); err != nil {
				t.Fatal(err)
			}
		case line == "" && !each(next):
			return
		}
	}
}

func TestGenerate(t *testing.T) {
	server, service := open(t, usual)
	want, err := service.generator.Generate(context.Background(), []uint32{3}, &fqgan.Sampling{Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Get(server.URL + "/generate?class=3&seed=7")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var rows []float64
	events(t, response.Body, func(e event) bool {
		if e.name == "row" {
			rows = append(rows, e.data["rows"].(float64))
			data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(e.data["image"].(string), "data:image/png;base64,"))
			if err != nil {
				t.Fatal(err)
			}
			img, err := png.Decode(bytes.NewReader(data))
			if err != nil || img.Bounds().Size() != image.Pt(16, 4*len(rows)) {
				t.Fatal(err, img.Bounds())
			}
			return true
		}
		books, _ := json.Marshal(e.data["books"])
		same, _ := json.Marshal(asJSON(want).Books)
		if e.name != "done" || string(books) != string(same) {
			t.Errorf("%s: %s, expected %s", e.name, books, same)
		}
		return false
	})
	if len(rows) != 3 || rows[2] != 3 {
		t.Error(rows)
	}
}

func TestTooManyCallsAndTime(t *testing.T) {
	server, service := open(t, Limits{Body: 1 << 20, Pixels: 1 << 16, Calls: 2, Time: time.Minute})
	// Two that never end their bodies hold both places.
	var bodies []*io.PipeWriter
	for i := 0; i < 2; i++ {
		read, write := io.Pipe()
		bodies = append(bodies, write)
		go http.Post(server.URL+"/encode", "image/png", read)
		write.Write([]byte("x"))
	}
	for len(service.calls) < 2 {
		time.Sleep(time.Millisecond)
	}
	if status, _ := call(t, "POST", server.URL+"/encode", "", "", picture(8, 8)); status != 503 {
		t.Error(status)
	}
	for _, body := range bodies {
		body.CloseWithError(io.ErrUnexpectedEOF)
	}
	for len(service.calls) > 0 {
		time.Sleep(time.Millisecond)
	}
	if status, _ := call(t, "POST", server.URL+"/encode", "", "", picture(8, 8)); status != 200 {
		t.Error(status)
	}
	service.limits.Time = time.Nanosecond
	if status, _ := call(t, "POST", server.URL+"/encode", "", "", picture(8, 8)); status != 504 {
		t.Error(status)
	}
	status, data := call(t, "GET", server.URL+"/generate?class=1", "", "", nil)
	if status != 200 || !strings.Contains(string(data), "event: failed") {
		t.Error(status, string(data))
	}
}

func TestGoneClientsStopTheirGeneration(t *testing.T) {
	server, service := open(t, usual)
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/generate?class=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(request); err == nil {
		events(t, response.Body, func(event) bool { cancel(); return false })
		response.Body.Close()
	}
	cancel()
	for began := time.Now(); len(service.calls) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the call goes on without its client")
		}
	}
}
