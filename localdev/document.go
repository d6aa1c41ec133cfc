package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/postern-ai/postern/localdev/check"
	"github.com/postern-ai/postern/localdev/kong"
	"github.com/postern-ai/postern/shared/config"
)

// checkDocument explains the document in a file. What is wrong with it is an
// error.
func checkDocument(args []string, out io.Writer) error {
	data, err := readArgument("check", args)
	if err != nil {
		return err
	}
	text, err := check.Explain(data)
	if problems, ok := errors.AsType[*config.Problems](err); ok {
		for _, p := range problems.List {
			fmt.Fprintln(out, p)
		}
		return fmt.Errorf("%s does not load", args[0])
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

// importKong writes the document that a Kong configuration becomes to out, and
// what there is to say about it to log. A document that does not load yet is
// written too, and is an error.
func importKong(args []string, out, log io.Writer) error {
	data, err := readArgument("import", args)
	if err != nil {
		return err
	}
	result, err := kong.Import(data)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	if _, err := out.Write(result.Document); err != nil {
		return err
	}
	if _, err := io.WriteString(log, result.Report()); err != nil {
		return err
	}
	if result.Problems != nil {
		return errors.New("the document has to be completed before it loads")
	}
	fmt.Fprintln(log, "\nThe document loads. To see what it needs: go run ./localdev check FILE")
	return nil
}

// readArgument reads the one file that a command is about; - is the standard
// input.
func readArgument(command string, args []string) ([]byte, error) {
	switch {
	case len(args) != 1:
		return nil, fmt.Errorf("usage: go run ./localdev %s FILE", command)
	case args[0] == "-":
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(args[0])
}
