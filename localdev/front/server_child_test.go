package front_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// request is what a child tells of a request that reached it.
type request struct {
	Method, URI, Host string
	Header            http.Header
	Body              string
}

// serveChild is a function on a platform that calls functions over HTTP.
func serveChild(port string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		fmt.Println("asked to end")
		os.Exit(0)
	}()
	panic(http.ListenAndServe("127.0.0.1:"+port, http.HandlerFunc(handleRequest)))
}

func handleRequest(w http.ResponseWriter, r *http.Request) {
	gateURL := r.URL.Query().Get("gate")
	switch r.URL.Path {
	case "/gated":
		w.Header().Set("Content-Type", "text/event-stream")
		for _, chunk := range []string{"one", "two", "three"} {
			io.WriteString(w, chunk)
			http.NewResponseController(w).Flush()
			waitAtGate(r.Context(), gateURL, chunk)
		}
	case "/crash":
		os.Exit(3)
	case "/crash-late":
		io.WriteString(w, "begun")
		http.NewResponseController(w).Flush()
		waitAtGate(r.Context(), gateURL, "begun")
		os.Exit(4)
	case "/hang":
		<-r.Context().Done()
	case "/hang-late":
		io.WriteString(w, "begun")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case "/hold":
		waitAtGate(r.Context(), gateURL, fmt.Sprint(os.Getpid()))
		fmt.Fprint(w, os.Getpid())
	case "/pid":
		fmt.Fprint(w, os.Getpid())
	case "/env":
		json.NewEncoder(w).Encode(os.Environ())
	case "/length":
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	case "/Envelope", "/Tick":
		answerEnvelope(w, r)
	case "/line":
		fmt.Println("a line of the function")
	default:
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Function", "yes")
		w.WriteHeader(http.StatusCreated)
		json.NewEncoder(w).Encode(request{r.Method, r.RequestURI, r.Host, r.Header, string(body)})
	}
}

// instruction is what an envelope can tell the child to answer.
type instruction struct {
	Status      int
	Type, Reply string
	Hang, Crash bool
}

// answerEnvelope obeys the instruction in an envelope: in the body of a request, or in the value of a timer. Without one
// it answers with the envelope itself.
func answerEnvelope(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	var e struct {
		Data struct {
			Req   struct{ Body string }
			Timer string
		}
	}
	if err := json.Unmarshal(text, &e); err != nil {
		panic(err)
	}
	order := e.Data.Req.Body
	if e.Data.Timer != "" {
		// The envelope holds a string that holds a JSON string that holds the value.
		if err := json.Unmarshal([]byte(e.Data.Timer), &order); err != nil {
			panic(err)
		}
	}
	var i instruction
	_ = json.Unmarshal([]byte(order), &i)
	switch {
	case i.Hang:
		<-r.Context().Done()
	case i.Crash:
		os.Exit(5)
	case i.Status == 0:
		raw, _ := json.Marshal(string(text))
		header, _ := json.Marshal(r.Header)
		i = instruction{http.StatusOK, "application/json", `{"Outputs":{"res":{"headers":{"content-type":"application/json"},"body":` + string(raw) + `},"headers":` + string(header) + `}}`, false, false}
	}
	w.Header().Set("Content-Type", i.Type)
	w.WriteHeader(i.Status)
	io.WriteString(w, i.Reply)
}
