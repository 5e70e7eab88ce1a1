package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// browser is a headless Chromium, spoken to through a pipe.
type browser struct {
	t       *testing.T
	to      io.Writer
	from    *json.Decoder
	session string
	last    int
}

// zeros makes the messages' ends, which are zero bytes, into spaces for the decoder.
type zeros struct{ io.Reader }

func (z zeros) Read(p []byte) (int, error) {
	n, err := z.Reader.Read(p)
	for i, b := range p[:n] {
		if b == 0 {
			p[i] = ' '
		}
	}
	return n, err
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	path := os.Getenv("FQGAN_CHROMIUM")
	if path == "" {
		path = "chromium"
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	back, answers, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "fqgan-browser")
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--remote-debugging-pipe", "--no-first-run", "--window-size=1200,1000", "--user-data-dir="+folder)
	command.ExtraFiles = []*os.File{theirs, answers}
	if err := command.Start(); err != nil {
		os.RemoveAll(folder)
		t.Fatalf("%v: apt-get install chromium, or name one in FQGAN_CHROMIUM", err)
	}
	theirs.Close()
	answers.Close()
	t.Cleanup(func() {
		ours.Close()
		back.Close()
		command.Process.Kill()
		command.Wait()
		// Its children outlive it for a moment, and still write there.
		for began := time.Now(); os.RemoveAll(folder) != nil; time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Errorf("%s does not go away", folder)
				return
			}
		}
	})
	back.SetReadDeadline(time.Now().Add(2 * time.Minute))
	b := &browser{t: t, to: ours, from: json.NewDecoder(zeros{back})}
	var target struct{ TargetId string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionId string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetId, "flatten": true}, &attached)
	b.session = attached.SessionId
	return b
}

func (b *browser) call(method string, parameters map[string]any, result any) {
	b.t.Helper()
	b.last++
	message := map[string]any{"id": b.last, "method": method, "params": parameters}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	data, err := json.Marshal(message)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(data, 0)); err != nil {
		b.t.Fatal(err)
	}
	for {
		var answer struct {
			ID     int
			Error  *struct{ Message string }
			Result json.RawMessage
		}
		if err := b.from.Decode(&answer); err != nil {
			b.t.Fatalf("%s: %v", method, err)
		}
		if answer.ID != b.last {
			continue // An event.
		}
		if answer.Error != nil {
			b.t.Fatalf("%s: %s", method, answer.Error.Message)
		}
		if result != nil {
			if err := json.Unmarshal(answer.Result, result); err != nil {
				b.t.Fatal(err)
			}
		}
		return
	}
}

// eval is the value of an expression on the page.
func (b *browser) eval(expression string) any {
	b.t.Helper()
	var answer struct {
		Result           struct{ Value any }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	b.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &answer)
	if answer.ExceptionDetails != nil {
		b.t.Fatalf("%s: %s %s", expression, answer.ExceptionDetails.Text, answer.ExceptionDetails.Exception.Description)
	}
	return answer.Result.Value
}

// wait waits until an expression is true.
func (b *browser) wait(expression string) {
	b.t.Helper()
	for began := time.Now(); b.eval(expression) != true; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			b.t.Fatalf("never so: %s; the page says %v", expression, b.eval("document.getElementById('said').textContent"))
		}
	}
}

// pixels is what a picture of the page shows.
func (b *browser) pixels(id string) image.Image {
	b.t.Helper()
	data := b.eval(`(async () => {
		const img = document.getElementById("` + id + `");
		await img.decode();
		const canvas = document.createElement("canvas");
		canvas.width = img.naturalWidth, canvas.height = img.naturalHeight;
		canvas.getContext("2d").drawImage(img, 0, 0);
		return canvas.toDataURL().split(",")[1];
	})()`).(string)
	decoded, err := base64.StdEncoding.DecodeString(data)
	if err != nil {
		b.t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(decoded))
	if err != nil {
		b.t.Fatal(err)
	}
	return img
}

func equal(a, b image.Image) bool {
	if a.Bounds().Size() != b.Bounds().Size() {
		return false
	}
	for y := 0; y < a.Bounds().Dy(); y++ {
		for x := 0; x < a.Bounds().Dx(); x++ {
			ar, ag, ab, _ := a.At(x, y).RGBA()
			br, bg, bb, _ := b.At(x, y).RGBA()
			if ar != br || ag != bg || ab != bb {
				return false
			}
		}
	}
	return true
}

// TestPage: drop a picture, see its codes, toggle sub-codebooks, watch a class being drawn, stop one.
func TestPage(t *testing.T) {
	server, service := open(t, usual)
	b := startBrowser(t)
	b.call("Page.navigate", map[string]any{"url": server.URL}, nil)
	b.wait(`document.readyState === "complete" && typeof info === "object" && info !== null`)

	b.eval(`{
		const bytes = Uint8Array.from(atob("` + base64.StdEncoding.EncodeToString(picture(64, 48)) + `"), (c) => c.charCodeAt(0));
		const transfer = new DataTransfer();
		transfer.items.add(new File([bytes], "picture.png", { type: "image/png" }));
		at("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
	}`)
	b.wait(`at("result").dataset.mask === "3"`)
	if said := b.eval(`at("said").textContent`).(string); !strings.HasPrefix(said, "16 x 12 positions, 384 codes, ") {
		t.Error(said)
	}
	if size := b.eval(`[...document.querySelectorAll("#grids canvas")].map((c) => c.width + "x" + c.height).join()`); size != "128x96,128x96" {
		t.Error(size)
	}
	both := b.pixels("result")
	b.eval(`document.querySelectorAll("#books input")[1].click()`)
	b.wait(`at("result").dataset.mask === "1"`)
	one := b.pixels("result")
	if both.Bounds().Size() != image.Pt(64, 48) || equal(both, one) {
		t.Error("the sub-codebook changes nothing", both.Bounds())
	}
	if b.eval(`document.querySelectorAll("#grids canvas")[1].className`) != "off" {
		t.Error("its grid is not dimmed")
	}
	b.eval(`document.querySelectorAll("#books input")[1].click()`)
	b.wait(`at("result").dataset.mask === "3"`)
	if !equal(both, b.pixels("result")) {
		t.Error("back on, it is another picture")
	}

	b.eval(`window.seen = [], new MutationObserver(() => seen.push(at("rows").value)).observe(at("rows"), { attributes: true });
		at("draw").elements.class.value = 2; at("start").click()`)
	b.wait(`at("said").textContent === "drawn: class 2, seed 1" && at("start").disabled === false`)
	b.wait(`at("result").complete && at("result").naturalWidth === 16`)
	if !equal(b.pixels("live"), b.pixels("result")) {
		t.Error("what was drawn row by row is not what its codes make")
	}
	if rows := b.eval(`at("rows").value`); rows != 3.0 {
		t.Error(rows)
	}
	if seen := fmt.Sprint(b.eval(`seen.filter((n, i) => n > 0 && seen.indexOf(n) === i).join()`)); seen[len(seen)-1] != '3' {
		t.Error(seen)
	}
	shot(b, "service.png")

	// What the service refuses is said.
	b.eval(`encode(new File(["no picture"], "x.png"))`)
	b.wait(`at("said").className === "wrong"`)
	// A class that is stopped gives its place back.
	b.eval(`at("start").click(); at("stop").click()`)
	b.wait(`at("said").textContent === "stopped" && at("start").disabled === false`)
	for began := time.Now(); len(service.calls) > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatal("the call goes on")
		}
	}
}

// shot keeps a picture of the page where FQGAN_SHOTS says.
func shot(b *browser, name string) {
	folder := os.Getenv("FQGAN_SHOTS")
	if folder == "" {
		return
	}
	var answer struct{ Data []byte }
	b.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &answer)
	if err := os.WriteFile(folder+"/"+name, answer.Data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
