import styles from "./App.module.css";
import { Banners } from "./banners/Banners.tsx";
import { CameraDialog } from "./cameras/CameraDialog.tsx";
import { CameraStrip } from "./cameras/CameraStrip.tsx";
import { TopBar } from "./header/TopBar.tsx";
import { KeyGroups } from "./key-groups/KeyGroups.tsx";
import { isLive } from "./live/state.ts";
import { usePage } from "./live/store.ts";
import { MapPanel } from "./map/MapPanel.tsx";
import { TotalsStrip } from "./totals/TotalsStrip.tsx";
import { HighRiskAnnouncer } from "./verdicts/HighRiskAnnouncer.tsx";
import { VerdictDialog } from "./verdicts/VerdictDialog.tsx";
import { VerdictList } from "./verdicts/VerdictList.tsx";

export function App() {
  const live = usePage(isLive);
  const loaded = usePage((page) => page.loaded);
  return (
    <div className={styles.app} data-live={live} data-loaded={loaded}>
      <TopBar />
      <main className={styles.main}>
        <Banners />
        <TotalsStrip />
        <div className={styles.watch}>
          <MapPanel />
          <VerdictList />
          <CameraStrip />
        </div>
        <KeyGroups />
      </main>
      <VerdictDialog />
      <CameraDialog />
      <HighRiskAnnouncer />
    </div>
  );
}
