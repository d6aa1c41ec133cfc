package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/postern-ai/postern/events/ocsf"
	"github.com/postern-ai/postern/localdev/trail"
	"github.com/postern-ai/postern/shared/audit"
)

const auditUsage = `usage: go run ./localdev audit verify FILE [-anchor FILE] [-key FILE] [-any-order]
       go run ./localdev audit anchor FILE [-anchor FILE] [-key FILE] [-any-order]
       go run ./localdev audit ocsf FILE`

// auditTrail has the commands about files of audit events. What they find is
// written to out; that they found something is the error.
func auditTrail(args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return errors.New(auditUsage)
	}
	flags := newFlags("audit "+args[0], auditUsage, log)
	var anchors, keys string
	var verifier audit.Verifier
	switch args[0] {
	case "verify", "anchor":
		flags.StringVar(&anchors, "anchor", "", "the `file` that an earlier audit anchor wrote")
		flags.StringVar(&keys, "key", "", "the `file` of the public keys, in PEM, that have to have signed the events")
		flags.BoolVar(&verifier.AnyOrder, "any-order", false, "take the events in any order, as from a bus that keeps none")
	case "ocsf", "-h", "-help", "--help":
	default:
		return fmt.Errorf("unknown command audit %s\n%s", args[0], auditUsage)
	}
	if strings.HasPrefix(args[0], "-") {
		return flags.Parse(args)
	}
	path, err := parseAround(flags, auditUsage, args[1:])
	if err != nil {
		return err
	}
	if verifier.Anchors, err = readAnchors(anchors); err != nil {
		return err
	}
	if verifier.Keys, err = readKeys(keys); err != nil {
		return err
	}
	file, err := openArgument(path)
	if err != nil {
		return err
	}
	defer file.Close()
	switch args[0] {
	case "verify":
		return verifyTrail(path, file, verifier, out)
	case "anchor":
		return anchorTrail(path, file, verifier, out, log)
	}
	return mapTrail(path, file, out, log)
}

// parseAround parses flags that stand before or after the one argument.
func parseAround(flags *flag.FlagSet, usage string, args []string) (string, error) {
	if err := flags.Parse(args); err != nil {
		return "", err
	}
	path := flags.Arg(0)
	if path == "" {
		return "", errors.New(usage)
	}
	if err := flags.Parse(flags.Args()[1:]); err != nil {
		return "", err
	}
	if flags.NArg() > 0 {
		return "", fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return path, nil
}

// openArgument opens a file; - is the standard input.
func openArgument(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(os.Stdin), nil
	}
	return os.Open(path)
}

func readKeys(path string) (audit.Keys, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return audit.ParseKeys(text)
}

// readAnchors reads what anchorTrail has written.
func readAnchors(path string) ([]audit.Anchor, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var anchors []audit.Anchor
	decoder := jsontext.NewDecoder(bytes.NewReader(text))
	for {
		var anchor audit.Anchor
		err := json.UnmarshalDecode(decoder, &anchor, json.RejectUnknownMembers(true))
		switch {
		case errors.Is(err, io.EOF) && len(anchors) > 0:
			return anchors, nil
		case err != nil || anchor.Chain == "" || anchor.Seq < 1 || anchor.Hash == "":
			return nil, fmt.Errorf("%s: anchor %d is none: they are what audit anchor writes", path, len(anchors)+1)
		}
		anchors = append(anchors, anchor)
	}
}

// judge reads the trail and writes what is wrong with it.
func judge(path string, file io.Reader, verifier audit.Verifier, out io.Writer) (audit.Report, error) {
	var reader trail.Reader
	report := verifier.Verify(reader.Events(file))
	if reader.Err != nil {
		return report, fmt.Errorf("%s: %w", path, reader.Err)
	}
	var b strings.Builder
	for _, fault := range reader.Faults {
		fmt.Fprintln(&b, fault)
	}
	for _, finding := range report.Findings {
		fmt.Fprintln(&b, finding)
	}
	if _, err := io.WriteString(out, b.String()); err != nil {
		return report, err
	}
	switch found := len(reader.Faults) + len(report.Findings); {
	case found == 1:
		return report, fmt.Errorf("%s: 1 finding", path)
	case found > 1:
		return report, fmt.Errorf("%s: %d findings", path, found)
	case report.Linked+report.Unlinked == 0:
		return report, fmt.Errorf("%s: there are no audit events in it", path)
	}
	return report, nil
}

func verifyTrail(path string, file io.Reader, verifier audit.Verifier, out io.Writer) error {
	report, err := judge(path, file, verifier, out)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, head := range report.Heads {
		fmt.Fprintf(&b, "credential %q of %s: intact to number %d at %s\n", head.Credential, head.Source, head.Seq, head.Time.Format("2006-01-02 15:04:05Z"))
	}
	fmt.Fprintf(&b, "%d events are in chains, %d came again, %d belong to none.\n", report.Linked, report.Repeated, report.Unlinked)
	if len(verifier.Anchors) == 0 && len(report.Heads) > 0 {
		fmt.Fprintln(&b, "Without an anchor nobody sees whether the last events are missing: write one with audit anchor, and keep it elsewhere.")
	}
	_, err = io.WriteString(out, b.String())
	return err
}

// anchorTrail writes where the chains end, if the trail is intact.
func anchorTrail(path string, file io.Reader, verifier audit.Verifier, out, log io.Writer) error {
	report, err := judge(path, file, verifier, log)
	if err != nil {
		return fmt.Errorf("nothing is anchored: %w", err)
	}
	if len(report.Heads) == 0 {
		return fmt.Errorf("nothing is anchored: no event of %s is in a chain", path)
	}
	for _, head := range report.Heads {
		line, err := json.Marshal(head)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// mapTrail writes each event in the form of OCSF on one line.
func mapTrail(path string, file io.Reader, out, log io.Writer) error {
	var reader trail.Reader
	left := 0
	for recorded := range reader.Events(file) {
		mapped, err := ocsf.Map(recorded.Event)
		if err != nil {
			fmt.Fprintf(log, "line %d: %v\n", recorded.Line, err)
			left++
			continue
		}
		if _, err := fmt.Fprintf(out, "%s\n", mapped); err != nil {
			return err
		}
	}
	if reader.Err != nil {
		return fmt.Errorf("%s: %w", path, reader.Err)
	}
	for _, fault := range reader.Faults {
		fmt.Fprintln(log, fault)
	}
	if left += len(reader.Faults); left > 0 {
		return fmt.Errorf("%s: %d lines were left out", path, left)
	}
	return nil
}
