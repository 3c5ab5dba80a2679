package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"builder/image/registry"
	"builder/internal/sys"
)

// loginFlags are the flags of login as they were typed.
type loginFlags struct {
	user, password string
	stdin          bool
}

func newLogin(g *globals) *cobra.Command {
	f := &loginFlags{}
	cmd := &cobra.Command{
		Use:     "login [OPTIONS] [SERVER]",
		Short:   "Log in to a registry; the default is docker.io",
		Example: "  builder login -u me --password-stdin registry.example.com < token",
		Args:    between(0, 1, "at most one registry"),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := registryOf(args)
			if err != nil {
				return err
			}
			if err := f.read(g, cmd.Flags().Changed("password")); err != nil {
				return err
			}
			return g.login(cmd.Context(), host, f)
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.user, "username", "u", "", "user name")
	fl.StringVarP(&f.password, "password", "p", "", "password; others see it in the list of processes")
	fl.BoolVar(&f.stdin, "password-stdin", false, "read the password from standard input")
	g.tlsFlag(cmd)
	return cmd
}

func registryOf(args []string) (string, error) {
	host, err := registry.Host(strings.Join(args, ""))
	if err != nil {
		return "", usage("%v", err)
	}
	return host, nil
}

// read takes the password from where the flags say.
func (f *loginFlags) read(g *globals, given bool) error {
	switch {
	case f.stdin && given:
		return usage("--password and --password-stdin exclude each other")
	case f.stdin && f.user == "":
		return usage("--password-stdin needs --username")
	case given:
		fmt.Fprintln(g.err, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	case f.stdin:
		data, err := io.ReadAll(io.LimitReader(g.in, 1<<20))
		if err != nil {
			return fmt.Errorf("read password: %w", err)
		}
		f.password = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
		if f.password == "" {
			return usage("--password-stdin: standard input is empty")
		}
	}
	return nil
}

// login uses what was given, what is saved, or what is typed.
func (g *globals) login(ctx context.Context, host string, f *loginFlags) error {
	client, err := g.registry()
	if err != nil {
		return err
	}
	user, password := f.user, f.password
	if user == "" && password == "" {
		saved, secret, ok, err := client.User(ctx, host)
		if err != nil {
			return err
		}
		if ok {
			fmt.Fprintln(g.err, "Authenticating with existing credentials...")
			if _, err := client.Login(ctx, host, saved, secret); err == nil {
				_, err = fmt.Fprintln(g.out, "Login Succeeded")
				return err
			} else if !errors.Is(err, registry.ErrDenied) {
				return err
			}
			fmt.Fprintln(g.err, "They are not taken any more.")
		}
	}
	if user == "" || password == "" {
		if user, password, err = g.askLogin(user, password); err != nil {
			return err
		}
	}
	place, err := client.Login(ctx, host, user, password)
	if err != nil {
		return err
	}
	if place != "" {
		fmt.Fprintf(g.err, "\nWARNING! Your credentials are stored unencrypted in '%s'.\nConfigure a credential helper to remove this warning.\n\n", place)
	}
	_, err = fmt.Fprintln(g.out, "Login Succeeded")
	return err
}

// askLogin asks at the terminal for what is missing.
func (g *globals) askLogin(user, password string) (string, string, error) {
	if !isTerminal(g.in) {
		return "", "", usage("there is no terminal to ask for user name and password").WithHint("write --username NAME --password-stdin < FILE")
	}
	lines := bufio.NewReader(g.in)
	ask := func(what string) (string, error) {
		fmt.Fprint(g.err, what+": ")
		text, err := lines.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("read %s: %w", strings.ToLower(what), err)
		}
		return strings.TrimRight(text, "\r\n"), nil
	}
	var err error
	if user == "" {
		if user, err = ask("Username"); err != nil {
			return "", "", err
		}
	}
	if password == "" {
		restore, err := sys.HideInput(g.in)
		if err != nil {
			return "", "", err
		}
		password, err = ask("Password")
		if err = errors.Join(err, restore()); err != nil {
			return "", "", err
		}
	}
	if user == "" || password == "" {
		return "", "", usage("a user name and a password are needed")
	}
	return user, password, nil
}

func newLogout(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "logout [SERVER]",
		Short:   "Forget the credentials of a registry; the default is docker.io",
		Example: "  builder logout registry.example.com",
		Args:    between(0, 1, "at most one registry"),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, err := registryOf(args)
			if err != nil {
				return err
			}
			client, err := g.registry()
			if err != nil {
				return err
			}
			fmt.Fprintf(g.out, "Removing login credentials for %s\n", host)
			return client.Logout(cmd.Context(), host)
		},
	}
}
