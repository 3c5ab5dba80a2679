package cli

import "github.com/spf13/cobra"

// group returns a command that only has others, such as "image": docker has each
// command of images under that, too.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Example: example,
		Args:    unknownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(commands...)
	return cmd
}

// named gives a command another name, in the group that it is in.
func named(cmd *cobra.Command, use string, aliases ...string) *cobra.Command {
	cmd.Use, cmd.Aliases = use, aliases
	return cmd
}

// newImageGroup is "builder image", docker's longer form of the commands.
func newImageGroup(g *globals) *cobra.Command {
	return group("image", "Manage images", "  builder image ls",
		newBuild(g), newHistory(g), newImport(g), newImageInspect(g), newLoad(g), newPull(g), newPush(g), newSave(g), newTag(g),
		named(newImages(g), "ls [OPTIONS] [NAME[:TAG]]", "list"),
		newImagePrune(g),
		named(newRmi(g), "rm [OPTIONS] IMAGE [IMAGE...]", "remove"),
	)
}

// newBuildxGroup is "builder buildx": fingers that have it type it.
func newBuildxGroup(g *globals) *cobra.Command {
	return group("buildx", "The commands of builds by the names that they have in buildx", "  builder buildx build -t app:1.0 .",
		newBuild(g), newBake(g), newDap(g), newDebug(g), newDu(g), newHistoryGroup(g), newImagetoolsGroup(g), newPrune(g, "prune [OPTIONS]"), newVersion(g))
}

// imageCommands are the commands about registries and about the store as a whole.
func imageCommands(g *globals) []*cobra.Command {
	return []*cobra.Command{newSearch(g), newLogin(g), newLogout(g), newImageGroup(g), newVolumeGroup(g), newImagetoolsGroup(g), newManifestGroup(g), newSystemGroup(g), newSystemInfo(g), newBuilderGroup(g), newBuildxGroup(g), newPrune(g, "prune [OPTIONS]"), newDu(g), newMan(g)}
}
