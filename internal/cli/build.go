package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"builder"
	"builder/executor/source"
	"builder/image"
	"builder/internal/diag"
	"builder/internal/progress"
	"builder/internal/pull"
	"builder/parser"
	"builder/planner"
)

// buildFlags are the flags of build as they were typed.
type buildFlags struct {
	tags, buildArgs, labels, noCacheFilter   []string
	outputs, addHosts, ulimits, contexts     []string
	secrets, ssh, allow, volumes             []string
	proxyNetwork                             bool
	file, target, platform, network, shmSize string
	annotations, argFiles, attest            []string
	provenance, sbom                         string
	unsetEnv, unsetLabels                    []string
	inheritLabels, squash                    bool
	hostname                                 string
	limits                                   limitFlags
	call                                     string
	check                                    bool
	iidfile, metadataFile                    string
	noCache, push, load, quiet               bool
	requireRecipe                            bool
	pull                                     choice
	progress                                 choice
	jobs                                     int
	// part is what bake wants of a build that is one of several; nil elsewhere.
	part *bakePart
	// debug is what is done where the build stops; nil where that is nothing.
	debug *debugFlags
	// editor is told where the build could stop; nil where there is none.
	editor *editor
}

func newBuildFlags() *buildFlags {
	return &buildFlags{
		pull:     choice{value: "missing", words: []string{"always", "missing", "never", "true", "false"}},
		progress: choice{value: "auto", words: progressModes},
	}
}

func newBuild(g *globals) *cobra.Command { return newBuildCommand(g, nil) }

// newBuildCommand is build, or what is below debug.
func newBuildCommand(g *globals, debug *debugFlags) *cobra.Command {
	f := newBuildFlags()
	f.debug = debug
	cmd := &cobra.Command{
		Use:     "build [OPTIONS] PATH | URL | -",
		Short:   "Build an image from a Dockerfile",
		Example: "  builder build -t app:1.0 .",
		Args:    exactly(1, "one build context (a directory, a URL, or - for standard input)"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runBuild(cmd.Context(), g, f, args[0])
		},
	}
	f.add(g, cmd)
	return cmd
}

// defaultJobs is how many steps run at the same time where nobody says.
func defaultJobs() int { return max(4, runtime.NumCPU()) }

// add adds the flags of build.
func (f *buildFlags) add(g *globals, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.tags, "tag", "t", nil, "name and tag of the result, as name:tag (repeatable)")
	fl.StringVarP(&f.file, "file", "f", "", "the Dockerfile, a path or URL (default PATH/Dockerfile); - is standard input")
	fl.StringArrayVar(&f.contexts, "build-context", nil, "what a name stands for: NAME=PATH|URL|docker-image://IMAGE|oci-layout://PATH[:TAG]|target:STAGE")
	fl.StringArrayVar(&f.secrets, "secret", nil, "a secret of the build, as id=ID[,src=PATH|env=NAME]")
	fl.StringArrayVar(&f.ssh, "ssh", nil, "an SSH agent of the build, as default[=SOCKET|KEY[,KEY]]; other names are for RUN --mount=type=ssh,id=NAME")
	fl.StringArrayVarP(&f.volumes, "volume", "v", nil, "show RUN steps something of the host, as HOST:TARGET[:ro|rw]; what it holds is no input")
	fl.StringVar(&f.target, "target", "", "the stage to build (default the last)")
	fl.StringArrayVar(&f.buildArgs, "build-arg", nil, "value of an ARG, as NAME=VALUE; NAME alone takes it from the environment")
	fl.StringArrayVar(&f.argFiles, "build-arg-file", nil, "file of build arguments, one NAME=VALUE on a line; --build-arg outranks it")
	fl.StringArrayVar(&f.annotations, "annotation", nil, "annotation of the image, as [manifest|index|manifest-descriptor|index-descriptor[PLATFORM]:]KEY=VALUE")
	fl.StringArrayVar(&f.unsetEnv, "unsetenv", nil, "variable that the image's environment is not to have")
	fl.StringArrayVar(&f.unsetLabels, "unsetlabel", nil, "label that the image is not to have")
	fl.BoolVar(&f.inheritLabels, "inherit-labels", true, "let the image have the labels of its base")
	fl.StringVar(&f.provenance, "provenance", "", "false: no attestation of how the image was made; others are not made yet")
	fl.StringVar(&f.sbom, "sbom", "", "false: no list of what the image consists of; others are not made yet")
	fl.StringArrayVar(&f.attest, "attest", nil, "type=sbom|provenance,disabled=true; others are not made yet")
	fl.Lookup("provenance").NoOptDefVal, fl.Lookup("sbom").NoOptDefVal = "true", "true"
	addHeld(fl, heldFlags)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return notThere(flagError(cmd, err), err, missingBuildFlags)
	})
	fl.BoolVar(&f.squash, "squash", false, "make one layer of all that this build adds to its base")
	fl.StringVar(&f.hostname, "hostname", "", "name of the machine that RUN steps see")
	fl.StringArrayVar(&f.labels, "label", nil, "label of the image, as NAME=VALUE")
	fl.BoolVar(&f.noCache, "no-cache", false, "run every step again")
	fl.StringSliceVar(&f.noCacheFilter, "no-cache-filter", nil, "run the steps of these stages again")
	fl.Var(&f.pull, "pull", "ask the registry for bases: always, missing or never")
	fl.Lookup("pull").NoOptDefVal = "always"
	fl.StringVar(&f.platform, "platform", "", "platform of the result, such as linux/arm64 (default this machine's)")
	fl.StringArrayVarP(&f.outputs, "output", "o", nil, "where the image goes: type=store|oci|docker|tar|local|registry|cacheonly[,dest=PATH], or a directory")
	fl.StringVar(&f.call, "call", "", "what to do in place of a build: check, outline or targets, with ,format=json for programs")
	fl.BoolVar(&f.check, "check", false, "look for what is wrong or doubtful in the recipe, and build nothing; the same as --call=check")
	fl.BoolVar(&f.push, "push", false, "push the tags; the same as --output type=registry")
	fl.BoolVar(&f.load, "load", false, "keep the image in the store beside other outputs; the same as --output type=docker")
	fl.Var(&f.progress, "progress", "how to show progress: "+strings.Join(progressModes, ", "))
	fl.BoolVar(&f.requireRecipe, "require-recipe", false, "refuse bases that were committed from a container")
	g.tlsFlag(cmd)
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "show nothing but the image ID")
	fl.StringVar(&f.iidfile, "iidfile", "", "write the image ID to this file")
	fl.StringVar(&f.metadataFile, "metadata-file", "", "write the digests of the result to this file, as JSON")
	fl.IntVar(&f.jobs, "jobs", defaultJobs(), "how many steps run at the same time")
	fl.StringVar(&f.network, "network", "default", "network of RUN steps: default (one of their own), host or none")
	fl.BoolVar(&f.proxyNetwork, "proxy-network", false, "have RUN steps reach the network through a proxy alone, and show what they ask for")
	fl.StringSliceVar(&f.allow, "allow", nil, "what the recipe may ask for: network.host, security.insecure, device[=NAME]; buildx.local.delete for an output with mode=delete")
	fl.StringArrayVar(&f.limits.resources, "resource", nil, "bound of RUN steps, as memory|memory-swap|cpus|cpu-shares|cpu-period|cpu-quota|cpuset-cpus|cpuset-mems=VALUE")
	f.limits.add(fl, "a RUN step", "RUN steps")
	fl.StringArrayVar(&f.addHosts, "add-host", nil, "line for /etc/hosts of RUN steps, as NAME:IP or NAME:host-gateway")
	fl.StringVar(&f.shmSize, "shm-size", "", "size of /dev/shm in RUN steps, such as 128m")
	fl.StringArrayVar(&f.ulimits, "ulimit", nil, "limit of RUN steps, as NAME=SOFT[:HARD]")
}

// runBuild is the build command: everything is read and checked before the
// first step runs.
func runBuild(ctx context.Context, g *globals, f *buildFlags, contextArg string) (err error) {
	call, err := parseCall(f.call, f.check)
	if err != nil {
		return err
	}
	if f.debug != nil {
		if _, err := f.debug.session(); err != nil {
			return err
		}
		if f.progress.value == "auto" {
			f.progress.value = "plain" // what is drawn anew would draw over the session
		}
	}
	if err := f.checkAttestations(); err != nil {
		return err
	}
	outputs, err := f.parseOutputs()
	if err != nil {
		return err
	}
	tags, err := parseTags("-t", f.tags)
	if err != nil {
		return err
	}
	plan, err := f.plan()
	if err != nil {
		return err
	}
	platforms, index, err := f.platforms(plan.BuildArgs)
	if err != nil {
		return err
	}
	annotations, err := parseAnnotations(f.annotations)
	if err != nil {
		return err
	}
	if err := checkAnnotations(annotations, withBuildPlatform(plan, platforms), index, outputs); err != nil {
		return err
	}
	for _, o := range outputs {
		if err := checkAnnotations(o.annotations, withBuildPlatform(plan, platforms), index, []output{o}); err != nil {
			return err
		}
	}
	plan.Platform, plan.ShowPlatform = platforms[0], len(platforms) > 1
	named, err := parseContexts(f.contexts)
	if err != nil {
		return err
	}
	named.add(f.part)
	plan.Contexts = named.plan
	secrets, err := parseSecrets(f.secrets)
	if err != nil {
		return err
	}
	agents, err := parseSSH(f.ssh)
	if err != nil {
		return err
	}
	epoch, err := f.epoch(outputs)
	if err != nil {
		return err
	}
	if f.quiet || call.name != "build" && f.progress.value == "auto" {
		f.progress.value = "quiet"
	}
	if f.file == "-" {
		// It is the process that builds which reads standard input.
		if err := g.enter(); err != nil {
			return err
		}
	}
	var input *input
	fetched, err := fetchesInput(f.file, contextArg)
	if err != nil {
		return err
	}
	if !fetched {
		// A recipe with faults changes nothing on disk.
		if input, err = openInput(g, f.file, contextArg); err != nil {
			return err
		}
		options := builder.Options{Recipe: input.recipe, Include: input.include, Plan: plan}
		if _, err := options.Parse(); err != nil {
			if call.name == "check" {
				return call.check(ctx, g.out, options)
			}
			return err
		}
	}
	m, err := openMachine(ctx, g)
	if err != nil {
		return err
	}
	var rules []pruneRule
	defer func() {
		if m.wrote.Load() && ctx.Err() == nil {
			err = errors.Join(err, m.collectGarbage(ctx, rules))
		}
		err = errors.Join(err, m.Close())
	}()
	if rules, err = m.gcRules(); err != nil {
		return err
	}
	remote, err := m.registry()
	if err != nil {
		return err
	}
	shown := f.part.display(f.progress.value, g.err)
	stops := &gate{display: shown}
	if f.debug != nil {
		shown = stops
	}
	view := m.recorded(shown, f, call, contextArg)
	defer func() { view.end(ctx, err) }()
	fetch := m.newFetcher(ctx, view, secrets.lookup)
	if fetch.Agent, err = m.agentSocket(ctx, agents); err != nil {
		return errors.Join(err, view.Close())
	}
	if input == nil {
		keep, _ := strconv.ParseBool(plan.BuildArgs["BUILDKIT_CONTEXT_KEEP_GIT_DIR"])
		if input, err = m.openElsewhere(ctx, f, contextArg, keep, fetch); err != nil {
			return errors.Join(err, view.Close())
		}
	}
	input.named, plan.ContextTime = named, input.when
	view.reads(input, plan.BuildArgs, withBuildPlatform(plan, platforms))
	input.show(view)
	// What is wrong with a machine's devices is told to those who ask for one.
	if plan.Devices, err = readDevices(deviceDirs()); err != nil && strings.Contains(input.recipe.Text, "--device") {
		return errors.Join(usage("devices: %v", err), view.Close())
	}
	if on, _ := strconv.ParseBool(plan.BuildArgs["BUILDKIT_INLINE_CACHE"]); on {
		view.Progress(progress.Warning{Text: "BUILDKIT_INLINE_CACHE: images hold no metadata of the cache yet"})
	}
	var warnings []parser.Warning
	plan.Warn = func(w parser.Warning) { warnings = append(warnings, w) }
	if j, ok := view.display.(*rawJSON); ok {
		plan.Warn = func(w parser.Warning) { j.check(input.definition(), w) }
	}
	plan.Warn = view.checks(input.definition(), plan.Warn)
	bases := resolver{puller: pull.New(m.store, remote, f.policy(), view), sink: view, requireRecipe: f.requireRecipe, machine: m, contexts: named}
	options := builder.Options{Recipe: input.recipe, Include: input.include, Ignore: input.ignore, Plan: plan, Resolver: view.materials(bases)}
	if call.name != "build" {
		var answer bytes.Buffer
		err := errors.Join(call.answer(ctx, &answer, options), view.Close())
		_, werr := g.out.Write(answer.Bytes())
		return errors.Join(err, werr)
	}
	options.Executor = m.executor(ctx, input, bases, fetch, grants{secrets, agents}, m.noting(view), f.jobs, epoch)
	options.Executor.Squash = f.squash
	if f.debug != nil {
		options.Executor.Stopped = f.debug.stopped(g, stops)
		options.Executor.StopAtResult = f.debug.on.value == "always"
	}
	if f.editor != nil {
		options.Executor.Reached, options.Executor.Stopped = f.editor.reached, f.editor.reached
	}
	built, err := builder.BuildAll(ctx, options, platforms)
	var done []delivered
	var images []made
	for i, img := range built {
		on := asked(plan, platforms[i])
		img.Annotations = withAnnotations(img.Annotations, annotated(annotations, "manifest", on))
		images = append(images, made{Image: img, tags: tags, platform: on, descriptor: annotated(annotations, "manifest-descriptor", on)})
	}
	view.made(images)
	if err == nil {
		done, err = m.deliver(ctx, images, index, indexNotes{annotated(annotations, "index", image.Platform{}), annotated(annotations, "index-descriptor", image.Platform{})}, outputs, view)
	}
	err = errors.Join(err, view.Close())
	if f.progress.value != "quiet" {
		warn(g.err, warnings)
	}
	if err != nil {
		return err
	}
	if f.part != nil {
		f.part.done(images, index, view.record.Ref, done)
		return nil
	}
	return f.report(g, m, built, index, done, view.record.Ref)
}

// parseOutputs reads --output and --push; without both the image goes to the
// store.
func (f *buildFlags) parseOutputs() ([]output, error) {
	var outputs []output
	stdout := 0
	for _, text := range f.outputs {
		o, err := parseOutput(text)
		if err != nil {
			return nil, err
		}
		if o.dest == "-" {
			stdout++
		}
		outputs = append(outputs, o)
	}
	if stdout > 1 {
		return nil, usage("--output: two outputs go to standard output").WithHint("give one of them a dest=FILE")
	}
	if f.push {
		outputs = append(outputs, output{kind: "registry", form: form{compression: "gzip"}})
	}
	if len(outputs) == 0 || f.load {
		outputs = append(outputs, output{kind: "store", form: form{compression: "gzip"}})
	}
	for i, o := range outputs {
		if o.kind == "registry" && slices.Contains(o.keys, "store") && !o.unkept {
			outputs[i].kind, outputs[i].push = "store", true
		}
		if o.files.remove && !slices.Contains(f.allow, allowDelete) {
			return nil, usage("--output: mode=delete removes what is in %q besides", o.dest).WithHint("allow it with --allow %s", allowDelete)
		}
		if tag := slices.IndexFunc(f.tags, func(tag string) bool { return !tagless(tag) }); o.named.byDigest && tag >= 0 {
			return nil, usage("--output: can't push tagged ref %s by digest", f.tags[tag]).WithHint("leave the tag out")
		}
		if (o.kind == "registry" || o.push) && len(f.tags) == 0 && len(o.names) == 0 {
			return nil, usage("nothing says what the pushed image is called").WithHint("add -t registry.example.com/name:tag")
		}
	}
	return outputs, nil
}

// parseTags reads the names that flag, or an argument where it is empty, gives to
// an image.
func parseTags(flag string, words []string) ([]image.Reference, error) {
	if flag != "" {
		flag += ": "
	}
	var tags []image.Reference
	for _, word := range words {
		ref, err := image.ParseReference(word)
		if err != nil {
			return nil, usage("%s%v", flag, err)
		}
		if ref.Digest() != "" {
			return nil, usage("%simage name %q has a digest", flag, word).WithHint("a tag names what is built; its digest follows from it")
		}
		tags = append(tags, ref)
	}
	return tags, nil
}

// plan turns flags into what planning needs.
func (f *buildFlags) plan() (planner.Options, error) {
	o := planner.Options{
		Target: f.target, NoCache: f.noCache, NoCacheFilter: f.noCacheFilter, Hostname: f.hostname,
		UnsetEnv: f.unsetEnv, UnsetLabels: f.unsetLabels, OwnLabels: !f.inheritLabels,
	}
	if err := checkHostname(f.hostname); err != nil {
		return o, err
	}
	var err error
	if o.BuildArgs, err = readArgFiles(f.argFiles); err != nil {
		return o, err
	}
	given, err := pairs("--build-arg", f.buildArgs, os.LookupEnv)
	if err != nil {
		return o, err
	}
	maps.Copy(o.BuildArgs, given)
	if o.Labels, err = pairs("--label", f.labels, func(string) (string, bool) { return "", true }); err != nil {
		return o, err
	}
	o.BuildPlatform = image.DefaultPlatform()
	switch f.network {
	case "default", "":
	case "none":
		o.Network = planner.NetworkNone
	case "host":
		o.Network = planner.NetworkHost
	default:
		return o, usage("--network: %q is not supported", f.network).WithHint("default, host or none")
	}
	o.Proxied = f.proxyNetwork
	if o.Limits, err = f.limits.parse(); err != nil {
		return o, err
	}
	if o.Allow, err = parseAllow(f.allow); err != nil {
		return o, err
	}
	for _, text := range f.addHosts {
		h, err := parseHost(text)
		if err != nil {
			return o, err
		}
		o.Hosts = append(o.Hosts, h)
	}
	for _, text := range f.ulimits {
		u, err := parseUlimit(text)
		if err != nil {
			return o, err
		}
		o.Ulimits = append(o.Ulimits, u)
	}
	if o.Volumes, err = parseVolumes(f.volumes); err != nil {
		return o, err
	}
	if f.shmSize != "" {
		if o.ShmSize, err = parseBytes("--shm-size", f.shmSize); err != nil {
			return o, err
		}
	}
	if f.jobs < 1 {
		return o, usage("--jobs: %d is less than one", f.jobs)
	}
	return o, nil
}

// asked is the platform that an image is for, where none may have been named.
func asked(o planner.Options, named image.Platform) image.Platform {
	if named.OS != "" {
		return named
	}
	return o.BuildPlatform
}

// withBuildPlatform names the platforms, where none may have been named.
func withBuildPlatform(o planner.Options, named []image.Platform) []image.Platform {
	list := make([]image.Platform, len(named))
	for i, p := range named {
		list[i] = asked(o, p)
	}
	return list
}

// platforms reads --platform: the zero platform where there is none. The images
// become an index where there are several, or where a build argument asks for one.
func (f *buildFlags) platforms(args map[string]string) (list []image.Platform, index bool, err error) {
	for _, word := range strings.Split(f.platform, ",") {
		if f.platform == "" {
			list = append(list, image.Platform{})
			break
		}
		p, err := image.ParsePlatform(strings.TrimSpace(word))
		if err != nil {
			return nil, false, usage("--platform: %v", err)
		}
		if !slices.ContainsFunc(list, func(have image.Platform) bool { return image.FormatPlatform(have) == image.FormatPlatform(p) }) {
			list = append(list, p)
		}
	}
	index = len(list) > 1
	if text, ok := args["BUILDKIT_MULTI_PLATFORM"]; ok && text != "" {
		asked, err := strconv.ParseBool(text)
		if err != nil {
			return nil, false, usage("build argument BUILDKIT_MULTI_PLATFORM: %q is neither true nor false", text)
		}
		if index && !asked {
			return nil, false, usage("build argument BUILDKIT_MULTI_PLATFORM: %d platforms need an index", len(list))
		}
		index = index || asked
	}
	return list, index, nil
}

// epoch is SOURCE_DATE_EPOCH of the environment; as a build argument it reaches
// the plan, which outranks it.
func (f *buildFlags) epoch(outputs []output) (*int64, error) {
	var own *int64
	for _, o := range outputs {
		if own != nil && o.epoch != nil && *own != *o.epoch {
			return nil, usage("--output: the outputs want two times: source-date-epoch=%d and %d", *own, *o.epoch)
		}
		own = cmp.Or(own, o.epoch)
	}
	if own != nil {
		return own, nil
	}
	for _, arg := range f.buildArgs {
		if strings.HasPrefix(arg, "SOURCE_DATE_EPOCH=") {
			return nil, nil
		}
	}
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return nil, usage("SOURCE_DATE_EPOCH: %q is not a number of seconds", text)
	}
	return &seconds, nil
}

// report prints the result and writes the files that were asked for.
func (f *buildFlags) report(g *globals, m *machine, images []*image.Image, index bool, done []delivered, ref string) error {
	var ids []string
	for _, img := range images {
		id, err := image.ID(img)
		if err != nil {
			return err
		}
		ids = append(ids, id.String())
	}
	id := strings.Join(ids, "\n")
	// An index has no ID but its digest, and that only in a form.
	for _, d := range done {
		if index && d.manifest != nil {
			id = d.manifest.Digest.String()
		}
	}
	if f.iidfile != "" {
		if err := os.WriteFile(f.iidfile, []byte(id), 0o644); err != nil {
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	if f.metadataFile != "" {
		config := ids[0]
		if index {
			config = ""
		}
		if err := writeMetadata(f.metadataFile, config, ref, f.tags, done); err != nil {
			return fmt.Errorf("--metadata-file: %w", err)
		}
	}
	for _, d := range done {
		if d.stdout {
			return nil // it belongs to the archive
		}
	}
	_, err := fmt.Fprintln(g.out, id)
	return err
}

// writeMetadata writes --metadata-file with buildx's field names.
func writeMetadata(path, id, ref string, tags []string, done []delivered) error {
	return writeMetadataFile(path, metadata(id, ref, tags, done))
}

// metadata is what a build tells of its result. ref is the build's, where there is
// one.
func metadata(id, ref string, tags []string, done []delivered) map[string]any {
	m := map[string]any{}
	if ref != "" {
		m["buildx.build.ref"] = buildRef(ref)
	}
	if id != "" {
		m["containerimage.config.digest"] = id
	}
	for _, d := range done {
		if d.manifest != nil {
			m["containerimage.digest"] = d.manifest.Digest.String()
			m["containerimage.descriptor"] = d.manifest
		}
	}
	if len(tags) > 0 {
		m["image.name"] = strings.Join(tags, ",")
	}
	return m
}

func writeMetadataFile(path string, m map[string]any) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

// input is what a build reads: recipe, ignore file, context.
type input struct {
	recipe  *diag.File
	include parser.Include // nil where the recipe lies in no directory
	ignore  *diag.File     // may be nil
	dir     string         // the context; "" for an empty one
	// archive is the context that came as a tar, opened.
	archive *source.Context
	named   *namedContexts
	when    *int64 // when the context is from, where its source tells
}

// show tells progress what was read, as BuildKit does.
func (in *input) show(sink progress.Sink) {
	loaded := func(v progress.Vertex, part string, f *diag.File) {
		at := time.Now()
		sink.Progress(progress.Started{Vertex: v, Time: at})
		if f != nil {
			sink.Progress(progress.Advanced{Vertex: v, Part: part, Current: int64(len(f.Text)), Done: true, Time: at})
		}
		sink.Progress(progress.Finished{Vertex: v, Time: at})
	}
	loaded(in.definition(), "transferring dockerfile:", in.recipe)
	loaded(loading(".dockerignore"), "transferring context:", in.ignore)
}

// definition is the vertex that has read the recipe.
func (in *input) definition() progress.Vertex {
	return loading("build definition from " + in.recipe.Name)
}

func loading(what string) progress.Vertex {
	return progress.Vertex{ID: what, Name: "[internal] load " + what}
}

// openInput reads the recipe and finds the context in a directory.
func openInput(g *globals, file, contextArg string) (*input, error) {
	in, err := openDir(contextArg)
	if err != nil {
		return nil, err
	}
	path := file
	if file == "-" {
		path = ""
		in.recipe, err = readRecipe("-", g.in)
	} else {
		if path == "" {
			path = filepath.Join(contextArg, "Dockerfile")
		}
		in.recipe, err = readRecipeFile(path)
	}
	if err != nil {
		return nil, err
	}
	if err := in.includes(path); err != nil {
		return nil, err
	}
	return in, in.readIgnore(file)
}

// openDir finds a context that is a directory.
func openDir(contextArg string) (*input, error) {
	fi, err := os.Stat(contextArg)
	switch {
	case err != nil:
		return nil, usage("the context %q cannot be read: %v", contextArg, unwrapPath(err))
	case !fi.IsDir():
		return nil, usage("the context %q is not a directory", contextArg).WithHint("give the directory that the Dockerfile's COPY paths are in, and the Dockerfile with -f")
	}
	return &input{dir: contextArg}, nil
}

// readIgnore reads the ignore file: beside the recipe by its name, or the
// context's.
func (in *input) readIgnore(file string) error {
	paths := []string{filepath.Join(in.dir, ".dockerignore")}
	if file == "" {
		file = filepath.Join(in.dir, "Dockerfile")
	}
	if file != "-" {
		paths = append([]string{file + ".dockerignore"}, paths...)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.EISDIR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read ignore file: %w", err)
		}
		in.ignore = &diag.File{Name: path, Text: string(data)}
		return nil
	}
	return nil
}

// maxRecipe is how large a recipe may be.
const maxRecipe = 16 << 20

func readRecipeFile(path string) (*diag.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage("the Dockerfile %q cannot be read: %v", path, unwrapPath(err)).WithHint("name it with -f")
	}
	defer f.Close()
	return readRecipe(path, f)
}

func readRecipe(name string, r io.Reader) (*diag.File, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxRecipe+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxRecipe {
		return nil, usage("%s has more than %d MiB and is no Dockerfile", name, maxRecipe>>20)
	}
	if name == "-" {
		name = "Dockerfile"
	}
	return &diag.File{Name: filepath.Base(name), Text: string(data)}, nil
}

func unwrapPath(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}
