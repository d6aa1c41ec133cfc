// Command localdev runs Postern on one machine.
//
//	go run ./localdev          all functions, against stand-ins for the clouds
//	go run ./localdev demo     one chat per cloud, plain and streamed, and one rotation, then exit
//
// has commands about documents, which start nothing:
//
//	go run ./localdev check FILE     explain a document: who, what, how, with which permissions
//	go run ./localdev check -record FILE...  write beside each what functions say of it, for Terraform
//	go run ./localdev explain FILE -token T -model M
//	                                 say which rule decides for a caller and a model, and why
//	go run ./localdev import FILE    turn a Kong configuration into a document
//
// has one about files of audit events, which changes nothing:
//
//	go run ./localdev audit verify FILE    find out whether the trail is whole and unchanged
//	go run ./localdev audit anchor FILE    write down where its chains end
//	go run ./localdev audit ocsf FILE      write its events in the form of OCSF
//
// and one that makes, revokes and lists API tokens:
//
//	go run ./localdev token
//
// Everything listens on the loopback address, and nothing outside the machine
// is called, except the server that -model names, and by explain the issuer of
// the token, whose keys it asks for.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/postern-ai/postern/localdev/contract"
	"github.com/postern-ai/postern/localdev/fake/brain"
	"github.com/postern-ai/postern/localdev/stage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	if ctx.Err() == nil { // whoever has stopped it knows why it has ended
		fmt.Fprintln(os.Stderr, "localdev:", err)
	}
	stop()
	os.Exit(1)
}

const usage = `usage: go run ./localdev [run] [FLAGS]     all functions, against stand-ins for the clouds
       go run ./localdev demo [FLAGS]      one chat per cloud, plain and streamed, and one rotation, then exit
       go run ./localdev check FILE        explain a document: who, what, how, with which permissions
       go run ./localdev check -record FILE...   write beside each what functions say of it, for Terraform
       go run ./localdev explain FILE -token TOKEN -model MODEL   say which rule decides, and why
       go run ./localdev import FILE       turn a Kong configuration into a document
       go run ./localdev audit verify|anchor|ocsf FILE   verify a trail of audit events
       go run ./localdev token create|revoke|list ...    make, revoke and list API tokens
In the place of FILE, - is the standard input.`

// run dispatches on the first argument. It ends when the command is done or
// ctx is.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	command := serve
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "run":
		case "help":
			_, err := fmt.Fprintln(out, usage)
			return err
		case "demo":
			command = demo
		case "check":
			return checkDocument(args[1:], out, log)
		case "explain":
			return explainDecision(ctx, args[1:], out, log)
		case "import":
			return importKong(args[1:], out, log)
		case "audit":
			return auditTrail(args[1:], out, log)
		case "token":
			return editTokens(args[1:], out, log)
		default:
			return fmt.Errorf("unknown command %q: there are run (the default), demo, check, explain, import, audit and token", args[0])
		}
		args = args[1:]
	}
	flags := flag.NewFlagSet("localdev", flag.ContinueOnError)
	flags.SetOutput(log)
	flags.Usage = func() {
		fmt.Fprintln(log, usage+"\n\nFLAGS of run and demo:")
		flags.PrintDefaults()
	}
	port := flags.Int("port", 9100, "the first of the `ports` that are used; 0 takes free ones")
	model := flags.String("model", "", "the base `URL` of an OpenAI-compatible server, such as http://127.0.0.1:11434/v1, whose model answers instead of the built-in one; #NAME at its end names the model, otherwise it is the first that the server lists")
	cross := flags.Bool("cross-cloud", false, "have each gateway serve the models of the other clouds, OpenAI and Anthropic too, by its own platform's identity")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *port < 0 || *port > mostPort {
		return fmt.Errorf("-port takes a number from 0 to %d, not %d", mostPort, *port)
	}
	o := stage.Options{Port: *port, CrossCloud: *cross, Output: log, Problem: func(service string, p contract.Problem) {
		fmt.Fprintf(log, "contract: %s: %s\n", service, p)
	}}
	if *model != "" {
		u, err := url.Parse(*model)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("-model takes the base URL of a server, such as http://127.0.0.1:11434/v1, not %q", *model)
		}
		o.Brain = brain.Remote(*model)
	}
	return command(ctx, o, out)
}

// mostPort leaves room for the ports after the first one.
const mostPort = 65000

// serve runs everything until ctx ends.
func serve(ctx context.Context, o stage.Options, out io.Writer) error {
	fmt.Fprintln(out, "Building the functions; the first time takes a minute or two.")
	s, err := stage.Start(ctx, o)
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Fprintf(out, "\n%s\nReady. This is at %s too. Stop it with Ctrl-C.\n\n", s.Help(), s.Control)
	<-ctx.Done()
	return nil
}
