package cli

import (
	"regexp"
	"slices"
	"strings"
)

// languageSections are the rows of the language: what the Dockerfile reference
// names, one row each.
func languageSections() []section {
	return []section{
		{"directives and ignore files", []feature{
			{"`# syntax=docker/dockerfile:…`", head(`(?i)^#\s*syntax\s*=\s*docker/dockerfile`)},
			{"`# syntax=builder/1`", head(`(?i)^#\s*syntax\s*=\s*builder`)},
			{"`# syntax=` another frontend", head(`(?i)^#\s*syntax\s*=\s*[a-z]+\.(io|com)/`)},
			{"`# escape=`", head("(?i)^#\\s*escape\\s*=\\s*[`\\\\]")},
			{"`# check=skip=`", head(`(?i)^#\s*check\s*=.*skip=`)},
			{"`# check=error=`", head(`(?i)^#\s*check\s*=.*error=`)},
			{"`# check=experimental=`", head(`(?i)^#\s*check\s*=.*experimental=`)},
			{"`.dockerignore`", ignore(`^shared\n`)},
			{"`RECIPE.dockerignore`", ignore(`^own\n`)},
			{"ignore file: `!`", ignore(`(?m)^!`)},
			{"ignore file: `**`", ignore(`\*\*`)},
			{"`INCLUDE path`", in("INCLUDE", `^INCLUDE [^#]+$`)},
			{"`INCLUDE path#stage`", in("INCLUDE", `#`)},
		}},
		{"FROM", []feature{
			{"`scratch`", in("FROM", `scratch`)},
			{"image by tag", in("FROM", `:[\w.]+( |$)`)},
			{"image by digest", in("FROM", `[a-z]@(sha256|@DIGEST)`)},
			{"stage", in("FROM", `^FROM [a-z]\w*( AS \w+)?$`)},
			{"`AS`", in("FROM", `(?i) AS `)},
			{"variables", in("FROM", `FROM \S*\$`)},
			{"`--platform`", flagged("FROM", "--platform=")},
			{"`--platform=$BUILDPLATFORM`", flagged("FROM", "--platform=$BUILDPLATFORM")},
		}},
		{"RUN", []feature{
			{"shell form", in("RUN", `^RUN [a-z]`)},
			{"exec form", in("RUN", `^RUN \[`)},
			{"heredoc", in("RUN", `<<[A-Z]`)},
			{"heredoc, quoted", in("RUN", `<<-?["']`)},
			{"heredoc, `<<-`", in("RUN", `<<-`)},
			{"heredoc with `#!`", in("RUN", `<<.*\n#!`)},
			{"several heredocs", in("RUN", `<<.*<<`)},
			{"`--mount=type=bind` from the context", mount("bind", "!from=")},
			{"`--mount=type=bind,from=`", mount("bind", "from=")},
			{"`--mount=type=bind,source=`", mount("bind", "source=", "src=")},
			{"`--mount=type=bind,rw`", mount("bind", "rw", "readwrite")},
			{"`--mount=type=cache`", mount("cache")},
			{"`--mount=type=cache,id=`", mount("cache", "id=")},
			{"`--mount=type=cache,sharing=shared`", mount("cache", "sharing=shared")},
			{"`--mount=type=cache,sharing=private`", mount("cache", "sharing=private")},
			{"`--mount=type=cache,sharing=locked`", mount("cache", "sharing=locked")},
			{"`--mount=type=cache,from=`", mount("cache", "from=")},
			{"`--mount=type=cache,source=`", mount("cache", "source=", "src=")},
			{"`--mount=type=cache,ro`", mount("cache", "ro", "readonly")},
			{"`--mount=type=cache,mode=`", mount("cache", "mode=")},
			{"`--mount=type=cache,uid=,gid=`", mount("cache", "uid=", "gid=")},
			{"`--mount=type=tmpfs`", mount("tmpfs")},
			{"`--mount=type=tmpfs,size=`", mount("tmpfs", "size=")},
			{"`--mount=type=secret`", mount("secret")},
			{"`--mount=type=secret,target=`", mount("secret", "target=", "dst=", "destination=")},
			{"`--mount=type=secret,env=`", mount("secret", "env=")},
			{"`--mount=type=secret,required`", mount("secret", "required")},
			{"`--mount=type=secret,mode=`", mount("secret", "mode=")},
			{"`--mount=type=secret,uid=,gid=`", mount("secret", "uid=", "gid=")},
			{"`--mount=type=ssh`", mount("ssh")},
			{"`--mount=type=ssh,id=`", mount("ssh", "id=")},
			{"`--mount=type=ssh,required`", mount("ssh", "required")},
			{"`--network=default`", flagged("RUN", "--network=default")},
			{"`--network=none`", flagged("RUN", "--network=none")},
			{"`--network=host`", flagged("RUN", "--network=host")},
			{"`--security=sandbox`", flagged("RUN", "--security=sandbox")},
			{"`--security=insecure`", flagged("RUN", "--security=insecure")},
			{"`--device=`", flagged("RUN", "--device=")},
		}},
		{"COPY", []feature{
			{"files and directories", in("COPY", `^COPY [\w.]+ `)},
			{"several sources", in("COPY", `^COPY [\w./]+ [\w./]+ \S+$`)},
			{"JSON form", in("COPY", `^COPY \[`)},
			{"wildcards", in("COPY", `[*?]`)},
			{"heredoc", in("COPY", `<<[A-Z]`)},
			{"heredoc, quoted", in("COPY", `<<-?["']`)},
			{"heredoc, `<<-`", in("COPY", `<<-`)},
			{"several heredocs", in("COPY", `<<.*<<`)},
			{"`--from=` a stage", flaggedBy("COPY", `--from=[a-z]\w*$`)},
			{"`--from=` a stage's number", flaggedBy("COPY", `--from=\d+$`)},
			{"`--from=` an image", flaggedBy("COPY", `--from=.*[/:]`)},
			{"`--chown=` by number", flaggedBy("COPY", `--chown=\d`)},
			{"`--chown=` by name", flaggedBy("COPY", `--chown=[a-z]`)},
			{"`--chmod=`, octal", flaggedBy("COPY", `--chmod=\d`)},
			{"`--chmod=`, symbolic", flaggedBy("COPY", `--chmod=[ugoa+]`)},
			{"`--link`", flagged("COPY", "--link")},
			{"`--parents`", flagged("COPY", "--parents")},
			{"`--parents` with a pivot", both(flagged("COPY", "--parents"), in("COPY", `\S/\./`))},
			{"`--parents` with `**`", both(flagged("COPY", "--parents"), in("COPY", `\*\*`))},
			{"`--exclude=`", flagged("COPY", "--exclude=")},
			{"`--exclude=`, several", in("COPY", `--exclude=.*--exclude=`)},
			{"`--optional` (builder/1)", flagged("COPY", "--optional")},
		}},
		{"ADD", []feature{
			{"files and directories", in("ADD", `^ADD [\w.]+ `)},
			{"heredoc", in("ADD", `<<`)},
			{"archives", in("ADD", `\.(tar|tgz|tar\.\w+) `)},
			{"URLs", in("ADD", `https?://`)},
			{"repositories", in("ADD", `\.git`)},
			{"repositories: `#ref:subdir`", in("ADD", `\.git#\S*:`)},
			{"repositories: `?ref=`", in("ADD", `\.git\?`)},
			{"`--checksum=` of a URL", flaggedBy("ADD", `--checksum=sha`)},
			{"`--checksum=` of a commit", both(flagged("ADD", "--checksum="), in("ADD", `\.git`))},
			{"`--keep-git-dir`", flagged("ADD", "--keep-git-dir")},
			{"`--unpack=true`", flaggedBy("ADD", `--unpack(=true)?$`)},
			{"`--unpack=false`", flagged("ADD", "--unpack=false")},
			{"`--chown=`", flagged("ADD", "--chown=")},
			{"`--chmod=`", flagged("ADD", "--chmod=")},
			{"`--link`", flagged("ADD", "--link")},
			{"`--exclude=`", flagged("ADD", "--exclude=")},
		}},
		{"ARG, ENV and variables", []feature{
			{"`ARG NAME`", in("ARG", `^ARG \w+$`)},
			{"`ARG NAME=default`", in("ARG", `^ARG \w+=`)},
			{"`ARG` of several", in("ARG", `^ARG \w+(=\S+)? \w+`)},
			{"platforms: `TARGETPLATFORM` …", whole(`\bTARGET(PLATFORM|OS|ARCH|VARIANT)\b`)},
			{"platforms: `BUILDPLATFORM` …", whole(`\bBUILD(PLATFORM|OS|ARCH|VARIANT)\b`)},
			{"`TARGETSTAGE`", whole(`TARGETSTAGE`)},
			{"proxies: `HTTP_PROXY` …", line(`(?i)--build-arg[= ]\S*_proxy=`)},
			{"`SOURCE_DATE_EPOCH`", line(`SOURCE_DATE_EPOCH`)},
			{"`BUILDKIT_CONTEXT_KEEP_GIT_DIR`", line(`BUILDKIT_CONTEXT_KEEP_GIT_DIR`)},
			{"`BUILDKIT_SYNTAX`", line(`BUILDKIT_SYNTAX`)},
			{"`BUILDKIT_DOCKERFILE_CHECK`", line(`BUILDKIT_DOCKERFILE_CHECK`)},
			{"`BUILDKIT_MULTI_PLATFORM`", line(`BUILDKIT_MULTI_PLATFORM`)},
			{"`BUILDKIT_SANDBOX_HOSTNAME`", line(`BUILDKIT_SANDBOX_HOSTNAME`)},
			{"`BUILDKIT_CACHE_MOUNT_NS`", line(`BUILDKIT_CACHE_MOUNT_NS`)},
			{"`ENV NAME=value`", in("ENV", `^ENV \w+=`)},
			{"`ENV NAME value`", in("ENV", `^ENV \w+ `)},
			{"`ENV` of several", in("ENV", `^ENV \w+=\S+ \w+=`)},
			{"`$x`", whole(`\$\w`)},
			{"`${x:-}`", whole(`\$\{\w+:-`)},
			{"`${x-}`", whole(`\$\{\w+-`)},
			{"`${x:+}`", whole(`\$\{\w+:\+`)},
			{"`${x+}`", whole(`\$\{\w+\+`)},
			{"`${x:?}`", whole(`\$\{\w+:\?`)},
			{"`${x?}`", whole(`\$\{\w+\?`)},
			{"`${x#}`", whole(`\$\{\w+#[^#]`)},
			{"`${x##}`", whole(`\$\{\w+##`)},
			{"`${x%}`", whole(`\$\{\w+%[^%]`)},
			{"`${x%%}`", whole(`\$\{\w+%%`)},
			{"`${x/}`", whole(`\$\{\w+/[^/]`)},
			{"`${x//}`", whole(`\$\{\w+//`)},
		}},
		{"LABEL", []feature{
			{"`NAME=value`", in("LABEL", `=`)},
			{"several", in("LABEL", `\S=\S+ \S+=`)},
			{"`NAME value`", in("LABEL", `^LABEL [\w.]+ \w`)},
		}},
		{"WORKDIR", []feature{
			{"absolute", in("WORKDIR", `^WORKDIR /`)},
			{"relative", in("WORKDIR", `^WORKDIR \w`)},
			{"variables", in("WORKDIR", `\$`)},
		}},
		{"USER", []feature{
			{"by name", in("USER", `^USER [a-z]\w*$`)},
			{"by number", in("USER", `^USER \d+$`)},
			{"with a group", in("USER", `:`)},
		}},
		{"CMD and ENTRYPOINT", []feature{
			{"`CMD`, exec form", in("CMD", `^CMD \[`)},
			{"`CMD`, shell form", in("CMD", `^CMD \w`)},
			{"`ENTRYPOINT`, exec form", in("ENTRYPOINT", `^ENTRYPOINT \[`)},
			{"`ENTRYPOINT`, shell form", in("ENTRYPOINT", `^ENTRYPOINT \w`)},
		}},
		{"SHELL, EXPOSE, VOLUME, STOPSIGNAL and MAINTAINER", []feature{
			{"`SHELL`", in("SHELL", ``)},
			{"`EXPOSE port`", in("EXPOSE", `^EXPOSE \d+`)},
			{"`EXPOSE port/protocol`", in("EXPOSE", `/(tcp|udp|sctp)`)},
			{"`EXPOSE` of a range", in("EXPOSE", `\d-\d`)},
			{"`VOLUME`, words", in("VOLUME", `^VOLUME /`)},
			{"`VOLUME`, JSON form", in("VOLUME", `\[`)},
			{"`STOPSIGNAL` by name", in("STOPSIGNAL", `[A-Z]+$`)},
			{"`STOPSIGNAL` by number", in("STOPSIGNAL", `\d$`)},
			{"`MAINTAINER`", in("MAINTAINER", ``)},
		}},
		{"HEALTHCHECK", []feature{
			{"`CMD`", in("HEALTHCHECK", `CMD`)},
			{"`NONE`", in("HEALTHCHECK", `NONE`)},
			{"`--interval`", flagged("HEALTHCHECK", "--interval=")},
			{"`--timeout`", flagged("HEALTHCHECK", "--timeout=")},
			{"`--start-period`", flagged("HEALTHCHECK", "--start-period=")},
			{"`--start-interval`", flagged("HEALTHCHECK", "--start-interval=")},
			{"`--retries`", flagged("HEALTHCHECK", "--retries=")},
		}},
		{"ONBUILD", []feature{
			{"`RUN`", in("ONBUILD", `(?i)ONBUILD\s+RUN`)},
			{"`COPY`", in("ONBUILD", `(?i)ONBUILD\s+COPY`)},
			{"`COPY --from`", in("ONBUILD", `COPY --from`)},
			{"others", in("ONBUILD", `(?i)ONBUILD\s+(ENV|LABEL|WORKDIR|USER|ARG|CMD)`)},
			{"`ONBUILD`, `FROM` and `MAINTAINER`", in("ONBUILD", `(?i)ONBUILD\s+(ONBUILD|FROM|MAINTAINER)`)},
		}},
		{"contexts", []feature{
			{"a directory", line(`^build .* \.$`)},
			{"`-`: a recipe or a tar on standard input", line(` -$`)},
			{"the URL of a tar or a recipe", line(` https?://\S+$|http://\S+/\S+(tar|Dockerfile)\S*$`)},
			{"the URL of a repository", line(`\.git(#\S*)?'?$`)},
			{"`--build-context name=PATH`", line(`--build-context[= ]\w+=[\w./]+( |$)`)},
			{"`--build-context name=docker-image://`", line(`--build-context[= ]\S+=docker-image://`)},
			{"`--build-context name=oci-layout://`", line(`--build-context[= ]\S+=oci-layout://`)},
			{"`--build-context name=target:`", line(`--build-context[= ]\S+=target:`)},
			{"`--build-context name=https://`", line(`--build-context[= ]\S+=https?://`)},
			{"`--build-context name=` a repository", line(`--build-context[= ]\S+=\S+\.git`)},
		}},
	}
}

// in matches an instruction's text.
func in(keyword, pattern string) func(use) bool {
	match := regexp.MustCompile(pattern)
	return func(u use) bool { return u.keyword == keyword && match.MatchString(u.text) }
}

// flagged matches an instruction with a flag that begins so.
func flagged(keyword, prefix string) func(use) bool {
	return func(u use) bool {
		return u.keyword == keyword && slices.ContainsFunc(u.flags, func(f string) bool { return strings.HasPrefix(f, prefix) })
	}
}

// flaggedBy matches an instruction with a flag that matches.
func flaggedBy(keyword, pattern string) func(use) bool {
	match := regexp.MustCompile(`^` + pattern)
	return func(u use) bool { return u.keyword == keyword && slices.ContainsFunc(u.flags, match.MatchString) }
}

// mount matches RUN with a mount of a type that has one of the fields, or, with
// "!", lacks it. No field is any mount.
func mount(kind string, fields ...string) func(use) bool {
	return func(u use) bool {
		return u.keyword == "RUN" && slices.ContainsFunc(u.flags, func(f string) bool {
			value, ok := strings.CutPrefix(f, "--mount=")
			if !ok {
				return false
			}
			parts := strings.Split(value, ",")
			has := func(prefix string) bool {
				return slices.ContainsFunc(parts, func(p string) bool {
					return p == prefix || strings.HasPrefix(p, prefix+"=") || strings.HasSuffix(prefix, "=") && strings.HasPrefix(p, prefix)
				})
			}
			if !has("type="+kind) && (kind != "bind" || has("type=")) {
				return false
			}
			return len(fields) == 0 || slices.ContainsFunc(fields, func(f string) bool {
				if without, ok := strings.CutPrefix(f, "!"); ok {
					return !has(without)
				}
				return has(f)
			})
		})
	}
}

// head matches the lines before the first instruction.
func head(pattern string) func(use) bool {
	match := regexp.MustCompile(pattern)
	return func(u use) bool {
		if u.keyword != "#" {
			return false
		}
		for line := range strings.Lines(u.recipe) {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "#") {
				return false
			}
			if match.MatchString(line) {
				return true
			}
		}
		return false
	}
}

// ignore matches an ignore file, with "own" or "shared" before it.
func ignore(pattern string) func(use) bool {
	match := regexp.MustCompile(pattern)
	return func(u use) bool { return u.keyword == "#" && match.MatchString(u.ignore) }
}

// whole matches the text of a recipe.
func whole(pattern string) func(use) bool {
	match := regexp.MustCompile(pattern)
	return func(u use) bool { return u.keyword == "#" && match.MatchString(u.recipe) }
}

// line matches a command line.
func line(pattern string) func(use) bool {
	match := regexp.MustCompile(pattern)
	return func(u use) bool { return u.keyword == "" && match.MatchString(u.text) }
}

func both(a, b func(use) bool) func(use) bool { return func(u use) bool { return a(u) && b(u) } }
