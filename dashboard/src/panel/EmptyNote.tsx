import type { LucideIcon } from "lucide-react";
import type { ReactNode } from "react";
import styles from "./EmptyNote.module.css";

/** What stands where nothing is yet: what is missing, and what happens next. */
export function EmptyNote({ icon: Icon, title, children }: { icon: LucideIcon; title: string; children: ReactNode }) {
  return (
    <div className={styles.note}>
      <Icon className={styles.icon} size={28} strokeWidth={1.5} aria-hidden />
      <p className={styles.title}>{title}</p>
      <div className={styles.text}>{children}</div>
    </div>
  );
}
