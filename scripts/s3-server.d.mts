export function builtServer(env?: NodeJS.ProcessEnv): string;
export function buildServer(say: (text: string) => void): string | undefined;
