package front_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
)

// lambdaChild is a function on AWS's own runtime library.
func lambdaChild(sigterm bool) {
	if path := os.Getenv("TICKS"); path != "" {
		go tick(path)
	}
	var options []lambda.Option
	if sigterm {
		options = append(options, lambda.WithEnableSIGTERM(func() { fmt.Println("asked to end") }))
	}
	lambda.StartWithOptions(handleEvent, options...)
}

// ticked receives after every count.
var ticked = make(chan int, 1)

// tick counts in a file for as long as the process runs.
func tick(path string) {
	f, err := os.Create(path)
	if err != nil {
		panic(err)
	}
	for n := 0; ; n++ {
		if _, err := f.WriteAt(fmt.Appendf(nil, "%020d", n), 0); err != nil {
			panic(err)
		}
		select {
		case ticked <- n:
		default:
		}
		time.Sleep(time.Millisecond)
	}
}

// handleEvent does what the path of a request, or the field do of another event, says.
func handleEvent(ctx context.Context, event json.RawMessage) (any, error) {
	var e struct {
		Do, RawPath, RawQueryString string
	}
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, err
	}
	body, w := io.Pipe()
	reply := &events.LambdaFunctionURLStreamingResponse{StatusCode: http.StatusOK, Body: body}
	gateURL := strings.TrimPrefix(e.RawQueryString, "gate=")
	switch e.RawPath + e.Do {
	case "/pid":
		reply.Body = strings.NewReader(fmt.Sprint(os.Getpid()))
	case "/tick":
		<-ticked // of the time before
		<-ticked
		reply.Body = strings.NewReader(fmt.Sprint(os.Getpid()))
	case "/echo":
		reply.StatusCode, reply.Cookies = http.StatusCreated, []string{"a=1", "b=2"}
		reply.Headers = map[string]string{"content-type": "application/json", "x-function": "yes"}
		reply.Body = strings.NewReader(string(event))
	case "/gated":
		reply.Headers = map[string]string{"content-type": "text/event-stream"}
		go func() {
			for _, chunk := range []string{"one", "two", "three"} {
				io.WriteString(w, chunk)
				waitAtGate(ctx, gateURL, chunk)
			}
			w.Close()
		}()
	case "/hold":
		waitAtGate(ctx, gateURL, fmt.Sprint(os.Getpid()))
		reply.Body = strings.NewReader(fmt.Sprint(os.Getpid()))
	case "/fail-late", "/crash-late", "/hang-late":
		go func() {
			io.WriteString(w, "begun")
			waitAtGate(ctx, gateURL, "begun")
			switch e.RawPath {
			case "/fail-late":
				w.CloseWithError(errors.New("no more"))
			case "/crash-late":
				os.Exit(4)
			}
		}()
	case "/crash":
		os.Exit(3)
	case "/hang":
		select {}
	case "/fail", "fail":
		return nil, errors.New("it failed")
	case "/panic":
		panic("it panicked")
	case "/document", "document":
		return events.LambdaFunctionURLResponse{
			StatusCode: http.StatusAccepted, Body: "aGk=", IsBase64Encoded: true, Cookies: []string{"a=1"}, Headers: map[string]string{"X-Function": "yes"},
		}, nil
	case "/value":
		return map[string]string{"no": "status"}, nil
	case "/raw":
		return rawReply{strings.NewReader("not HTTP"), "text/plain"}, nil
	case "/glued":
		return rawReply{strings.NewReader(`{"statusCode":203}` + strings.Repeat("\x00", 8) + "body\x00"), streamedType}, nil
	case "/no-prelude":
		return rawReply{strings.NewReader(`{"statusCode":203}`), streamedType}, nil
	case "/bad-prelude":
		return rawReply{strings.NewReader(`{"statusCode":"203"}` + strings.Repeat("\x00", 8)), streamedType}, nil
	case "/bad-status":
		return map[string]any{"statusCode": 42}, nil
	case "/bad-body":
		return map[string]any{"statusCode": 200, "body": 42}, nil
	case "/fits", "fits":
		return strings.Repeat("x", 6<<20+100-len(`""`)), nil
	case "/oversized", "oversized":
		return strings.Repeat("x", 6<<20+101-len(`""`)), nil
	case "stream":
		reply.Body = strings.NewReader("streamed")
	case "fail-late":
		reply.Body = io.MultiReader(strings.NewReader("begun"), brokenReader{})
	case "pid":
		return os.Getpid(), nil
	case "env":
		return os.Environ(), nil
	default:
		reply.StatusCode = http.StatusNotFound
	}
	return reply, nil
}

// rawReply is streamed as it is, as an HTTP reply or as anything else.
type rawReply struct {
	io.Reader
	contentType string
}

func (r rawReply) ContentType() string        { return r.contentType }
func (rawReply) MarshalJSON() ([]byte, error) { return nil, errors.New("not JSON") }

const streamedType = "application/vnd.awslambda.http-integration-response"

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("no more") }

// runtimeChild is a runtime that breaks the rules of the Runtime API, one per event, and reports the answers to it.
func runtimeChild() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API")
	call := func(method, path, body string, header ...string) string {
		r, err := http.NewRequest(method, api+path, strings.NewReader(body))
		if err != nil {
			panic(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			panic(err)
		}
		defer reply.Body.Close()
		text, _ := io.ReadAll(reply.Body)
		var e struct{ ErrorType, Status string }
		_ = json.Unmarshal(text, &e)
		return fmt.Sprintf("%d %s%s", reply.StatusCode, e.ErrorType, e.Status)
	}
	const runtime = "/2018-06-01/runtime/"
	before := []string{
		"respond to nothing: " + call("POST", runtime+"invocation/x/response", "{}"),
		"register without a name: " + call("POST", "/2020-01-01/extension/register", `{"events":[]}`),
		"register for SHUTDOWN: " + call("POST", "/2020-01-01/extension/register", `{"events":["SHUTDOWN"]}`, "Lambda-Extension-Name", "x"),
		"wait as an unknown extension: " + call("GET", "/2020-01-01/extension/event/next", "", "Lambda-Extension-Identifier", "x"),
	}
	for {
		next, err := http.Get(api + runtime + "invocation/next")
		if err != nil {
			os.Exit(0)
		}
		event, _ := io.ReadAll(next.Body)
		next.Body.Close()
		path := runtime + "invocation/" + next.Header.Get("Lambda-Runtime-Aws-Request-Id")
		if string(event) == `"mode"` {
			before = append(before, "respond in an unknown mode: "+call("POST", path+"/response", "{}", "Lambda-Runtime-Function-Response-Mode", "buffered"))
			continue
		}
		before = append(before,
			"respond to another: "+call("POST", runtime+"invocation/x/response", "{}"),
			"ask before responding: "+call("GET", runtime+"invocation/next", ""),
			"fail the initialization after it: "+call("POST", runtime+"init/error", "{}"),
			"register after the initialization: "+call("POST", "/2020-01-01/extension/register", `{"events":[]}`, "Lambda-Extension-Name", "x"),
		)
		report, _ := json.Marshal(before)
		before = []string{
			"respond: " + call("POST", path+"/response", string(report)),
			"respond again: " + call("POST", path+"/response", "{}"),
			"fail after responding: " + call("POST", path+"/error", "{}"),
		}
	}
}

// initErrorChild is a runtime that cannot get ready and says so.
func initErrorChild() {
	r, err := http.NewRequest("POST", "http://"+os.Getenv("AWS_LAMBDA_RUNTIME_API")+"/2018-06-01/runtime/init/error",
		strings.NewReader(`{"errorType":"Config","errorMessage":"no document"}`))
	if err != nil {
		panic(err)
	}
	_, _ = http.DefaultClient.Do(r)
	select {}
}
