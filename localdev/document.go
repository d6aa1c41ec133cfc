package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/postern-ai/postern/localdev/check"
	"github.com/postern-ai/postern/localdev/explain"
	"github.com/postern-ai/postern/localdev/kong"
	"github.com/postern-ai/postern/shared/config"
)

const checkUsage = `usage: go run ./localdev check FILE
       go run ./localdev check -record FILE...`

// checkDocument explains the document in a file. What is wrong with it is an
// error. With -record it leaves a record beside each of several files.
func checkDocument(args []string, out, log io.Writer) error {
	flags := newFlags("check", checkUsage, log)
	record := flags.Bool("record", false, "write beside each file what functions say of the document in it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if files := flags.Args(); *record && len(files) > 0 && !slices.Contains(files, "-") {
		return recordDocuments(files, out)
	}
	if *record {
		return errors.New("a record is left beside each file, so name files, and not - for standard input: check -record FILE")
	}
	data, err := readArgument(checkUsage, flags.Args())
	if err != nil {
		return err
	}
	text, err := check.Explain(data)
	return written(flags.Arg(0), text, err, out)
}

// newFlags returns the flags of a command, whose help begins with its usage.
func newFlags(command, usage string, log io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(log)
	flags.Usage = func() {
		fmt.Fprintln(log, usage)
		flags.PrintDefaults()
	}
	return flags
}

// recordDocuments writes beside each file what the functions say of the document
// in it. That they refuse it is said too, and is no error: a plan that reads the
// record is what fails.
func recordDocuments(files []string, out io.Writer) error {
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		record := check.NewRecord(data)
		text, err := record.Text()
		if err != nil {
			return err
		}
		if err := os.WriteFile(file+check.RecordSuffix, text, 0o644); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s%s: %d problems on AWS, %d on Google Cloud, %d on Azure\n", file, check.RecordSuffix, len(record.AWS), len(record.GCP), len(record.Azure))
	}
	return nil
}

// written writes an explanation, or what is wrong with the document in a file.
func written(file, text string, err error, out io.Writer) error {
	if problems, ok := errors.AsType[*config.Problems](err); ok {
		for _, p := range problems.List {
			fmt.Fprintln(out, p)
		}
		return fmt.Errorf("%s does not load", file)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

const explainUsage = "usage: go run ./localdev explain FILE -token TOKEN -model MODEL"

// explainDecision says what the policy of the document in a file decides.
func explainDecision(ctx context.Context, args []string, out, log io.Writer) error {
	flags := newFlags("explain", explainUsage, log)
	token := flags.String("token", "", "the caller's bearer `token`; - reads it from the standard input")
	arn := flags.String("arn", "", "in place of a token, the `ARN` of an identity that AWS IAM has admitted")
	model := flags.String("model", "", "the public `name` of the model")
	route := flags.String("route", string(config.EndpointChat), "the part of the API: chat or models")
	mfa := flags.Bool("iam-mfa", false, "AWS IAM asks for a second factor, as POSTERN_IAM_MFA=true says")
	file, err := parseAround(flags, explainUsage, args)
	if err != nil {
		return err
	}
	if file == "-" && *token == "-" {
		return errors.New("the document and the token cannot both come from the standard input")
	}
	data, err := readArgument(explainUsage, []string{file})
	if err != nil {
		return err
	}
	if *token == "-" {
		text, err := io.ReadAll(io.LimitReader(os.Stdin, 1<<16))
		if err != nil {
			return err
		}
		*token = strings.TrimSpace(string(text))
	}
	text, err := explain.Explain(ctx, data, explain.Question{Token: *token, ARN: *arn, Model: *model, Route: config.Endpoint(*route), IAMMFA: *mfa})
	return written(file, text, err, out)
}

// importKong writes the document that a Kong configuration becomes to out, and
// what there is to say about it to log. A document that does not load yet is
// written too, and is an error.
func importKong(args []string, out, log io.Writer) error {
	const usage = "usage: go run ./localdev import FILE"
	flags := newFlags("import", usage, log)
	if err := flags.Parse(args); err != nil {
		return err
	}
	data, err := readArgument(usage, flags.Args())
	if err != nil {
		return err
	}
	result, err := kong.Import(data)
	if err != nil {
		return fmt.Errorf("%s: %w", flags.Arg(0), err)
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
func readArgument(usage string, args []string) ([]byte, error) {
	switch {
	case len(args) != 1:
		return nil, errors.New(usage)
	case args[0] == "-":
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(args[0])
}
