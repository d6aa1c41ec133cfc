package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/fake/metadata"
	"github.com/postern-ai/postern/localdev/fake/vertex"
)

// TestMain lets the test binary be the program itself, in a process of its
// own that can be sent signals.
func TestMain(m *testing.M) {
	if os.Getenv("PORT") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// admitted is a token as Cloud Run hands it to the container once it has
// checked the signature.
func admitted() string {
	part := func(v any) string {
		text, _ := json.Marshal(v)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now().Unix()
	return part(map[string]any{"alg": "RS256", "typ": "JWT", "kid": "1"}) + "." + part(map[string]any{
		"iss": "https://accounts.google.com", "aud": "https://gateway-abc.a.run.app", "sub": "1234567890", "iat": now, "exp": now + 3600,
	}) + ".SIGNATURE_REMOVED_BY_GOOGLE"
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// start runs the program and returns when it answers.
func start(t *testing.T, env ...string) (process *exec.Cmd, url string) {
	t.Helper()
	port := freePort(t)
	process = exec.CommandContext(t.Context(), os.Args[0])
	process.Env = append(env, "PORT="+port, "LOCAL_HOST=127.0.0.1", "POSTERN_PLATFORM_IAM=true", "POSTERN_MODELS=gemini-2.5-flash")
	process.Stdout, process.Stderr = io.Discard, os.Stderr
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	url = "http://127.0.0.1:" + port
	for range 400 {
		if resp, err := http.Get(url + "/health"); err == nil {
			resp.Body.Close()
			return process, url
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("no answer")
	return nil, ""
}

func ask(url string, stream bool, words string) (string, error) {
	body := fmt.Sprintf(`{"model":"gemini-2.5-flash","stream":%v,"messages":[{"role":"user","content":"#slow(100ms) #say(%s)"}]}`, stream, words)
	r, err := http.NewRequest(http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+admitted())
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return string(all), err
}

// TestRequestsUnderWayAreAnsweredAfterSIGTERM has several instances end, each
// with a stream and a plain answer open. The plain one ends last and is small
// enough to be in a buffer still when its handler has returned.
func TestRequestsUnderWayAreAnsweredAfterSIGTERM(t *testing.T) {
	t.Parallel()
	account := metadata.New(metadata.Options{ProjectID: "some-project"})
	platform := httptest.NewServer(account)
	t.Cleanup(platform.Close)
	for range 6 {
		t.Run("an instance", func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 2)
			models := httptest.NewServer(vertex.New(vertex.Options{
				Brain: brain.Echo{}, Projects: []string{"some-project"},
				Authorize: func(token string) (string, bool) { return "the account", account.Valid(token) },
				Called:    func(vertex.Call) { asked <- struct{}{} },
			}))
			defer models.Close()
			process, url := start(t, "GCE_METADATA_HOST="+strings.TrimPrefix(platform.URL, "http://"), "GOOGLE_VERTEX_BASE_URL="+models.URL)
			var all sync.WaitGroup
			for _, c := range []struct {
				stream     bool
				words, end string
			}{{true, "one two three", "data: [DONE]\n\n"}, {false, "one two three four five", "}"}} {
				all.Go(func() {
					if got, err := ask(url, c.stream, c.words); err != nil || !strings.HasSuffix(got, c.end) || !strings.Contains(got, "three") {
						t.Errorf("got %q, %v", got, err)
					}
				})
			}
			<-asked
			<-asked
			if err := process.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := process.Wait(); err != nil {
				t.Errorf("the program ended with %v", err)
			}
			all.Wait()
		})
	}
}
