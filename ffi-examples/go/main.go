// A service that encodes, decodes and generates, with a page to try it on:
//
//	go run . -model tokenizer.safetensors [-generator far.safetensors] [-listen 127.0.0.1:8080]
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fqgan"
)

func main() {
	model := flag.String("model", "", "the tokenizer's weights")
	generator := flag.String("generator", "", "the generator's weights; none: no generation")
	listen := flag.String("listen", "127.0.0.1:8080", "where to listen")
	limits := Limits{}
	flag.Int64Var(&limits.Body, "max-body", 8<<20, "bytes of a request")
	flag.IntVar(&limits.Pixels, "max-pixels", 1<<20, "pixels of a picture")
	flag.IntVar(&limits.Calls, "max-calls", 4, "calls under way; more are told to come again")
	flag.DurationVar(&limits.Time, "max-time", 2*time.Minute, "time for a request")
	flag.Parse()
	if err := serve(*model, *generator, *listen, limits); err != nil {
		log.Fatal(err)
	}
}

func serve(model, generator, listen string, limits Limits) error {
	runtime, err := fqgan.NewRuntime(nil)
	if err != nil {
		return err
	}
	defer runtime.Close()
	tokenizer, err := fqgan.OpenTokenizer(runtime, model, nil)
	if err != nil {
		return err
	}
	defer tokenizer.Close()
	var far *fqgan.Generator
	if generator != "" {
		if far, err = fqgan.OpenGenerator(runtime, generator, nil); err != nil {
			return err
		}
		defer far.Close()
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	service, err := NewService(tokenizer, far, limits)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           service,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      limits.Time + 10*time.Second,
		MaxHeaderBytes:    16 << 10,
		// What is under way ends with the service.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	log.Printf("libfqgan %s on http://%s", fqgan.Version(), listener.Addr())
	go func() {
		<-ctx.Done()
		late, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Shutdown(late)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
